"""The bandwidth of caches and memory: bytes a second that a loop moves, by the size of what it works on."""

from collections.abc import Mapping

from benchmarks.measure.peers import Makers
from benchmarks.measure.timing import Times, Work
from benchmarks.measure.traffic import traffic_loop

WORKING_SETS = [
    1 << power for power in range(14, 29, 2)
]  # bytes: 16 kB, and four times as many each
BYTES_OF_A_CALL = 1 << 20  # so that the call itself does not count
ITEMSIZE = 4


def traffic_makers() -> Makers:
    """The loop of traffic.c on arrays of all these sizes; its unit is 1,000 bytes that are read or written."""

    def work(nbytes: int) -> Work:
        count = nbytes // (
            2 * ITEMSIZE
        )  # of the weights, which are read twice, and of what is written
        turns = max(BYTES_OF_A_CALL // nbytes, 1)
        loop = traffic_loop(count, turns=turns)
        return loop._replace(units=turns * 3 * ITEMSIZE * count / 1000)

    return {str(nbytes): lambda nbytes=nbytes: work(nbytes) for nbytes in WORKING_SETS}


def bandwidth(times: Mapping[str, Times], nbytes: int) -> float:
    """GB/s for so many bytes: those of the smallest of the measured working sets that holds them."""
    size = next((size for size in WORKING_SETS if size >= nbytes), WORKING_SETS[-1])
    return 1 / times[str(size)].fastest
