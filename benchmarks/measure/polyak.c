/* A moving average as a plain loop:   w += tau (v - w) */
#include <stddef.h>

void polyak(ptrdiff_t n, float *restrict w, const float *restrict v, float tau)
{
    for (ptrdiff_t i = 0; i < n; i++)
        w[i] += tau * (v[i] - w[i]);
}
