/* Adam as a plain loop:   a += (1 - beta1) (g - a);  b = beta2 b + (1 - beta2) g^2;  w -= step a / (c sqrt(b) + eps) */
#include <math.h>
#include <stddef.h>

void adam(ptrdiff_t n, float *restrict w, const float *restrict g, float *restrict a, float *restrict b,
          float beta1, float beta2, float eps, float c, float step)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        a[i] += (1 - beta1) * (g[i] - a[i]);
        b[i] = beta2 * b[i] + (1 - beta2) * g[i] * g[i];
        w[i] -= step * a[i] / (c * sqrtf(b[i]) + eps);
    }
}
