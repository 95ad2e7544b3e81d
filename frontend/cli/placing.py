"""Workers of one host are placed on its GPUs: which one runs where, and how much of the memory each
takes where several share a GPU.
"""

from dataclasses import dataclass
from typing import Final

from frontend.cli.engine_arguments import EngineArguments
from protocol.process.start_error import StartError

SHARE: Final = 0.8
"""Of the memory that falls to an engine this part is for weights and KV cache. The rest is for
activations, CUDA graphs and CUDA itself.
"""


@dataclass(frozen=True)
class Seat:
    """A Seat is where a worker's engine runs.

    Attributes:
        arguments: that put the engine there.
        place: workers of the same place have the same GPUs, and start one after the other, since
        each measures what is free of their memory; None where nothing is known of GPUs.
        sharers: how many workers share the place, if it falls to `kvmesh up` to divide its memory;
        else 1.
    """

    arguments: tuple[str, ...] = ()
    place: int | None = None
    sharers: int = 1

    def memory(self, running: int) -> list[str]:
        """Returns the argument that leaves as much memory to each sharer.

        SGLang takes a part of what is free when an engine starts, so the part depends on how many
        of the others run by then.
        """
        if self.sharers == 1:
            return []
        return ["--mem-fraction-static", f"{SHARE / max(1, self.sharers - running):.3f}"]


def gpus_of_one(arguments: EngineArguments) -> int:
    """Returns how many GPU ids one engine takes up on this host.

    Source: launch_dp_schedulers and launch_tensor_parallel_group of SGLang 0.5.23
    (srt/managers/data_parallel_controller.py): ranks of data parallelism have GPUs of their own,
    except those of attention, which lie within tensor parallelism.
    """
    ranks = arguments.number("--tp-size", "--tp", "--tensor-parallel-size")
    ranks *= arguments.number("--pp-size", "--pp", "--pipeline-parallel-size")
    if arguments.told("--enable-dp-attention") is None:
        ranks *= arguments.number("--dp-size", "--dp", "--data-parallel-size")
    on_this_host = -(-ranks // arguments.number("--nnodes"))
    return on_this_host * arguments.number("--gpu-id-step")


def seats(
    workers: int, arguments: EngineArguments, *, gpus: int | None, share: bool, single: int = 0
) -> list[Seat]:
    """Returns where each of so many workers runs: side by side, and around again where they share.

    Whoever names a GPU by --base-gpu-id places all workers there; they start in turn too.

    Args:
        gpus: that an engine sees here; None and 0 where there is nothing to choose from.
        share: several workers may have the same GPUs.
        single: so many of the workers, the last ones, take one GPU whatever the arguments say.
    Raises:
        StartError: there are too few GPUs.
    """
    elsewhere = arguments.told("--device") not in (None, "", "cuda")
    if not gpus or elsewhere:
        return [Seat()] * workers
    if arguments.told("--base-gpu-id") is not None:
        return [Seat(place=0)] * workers
    size = gpus_of_one(arguments) if workers > single else 1
    # behind the last GPU of the last one there need be none to step over
    places = (gpus + arguments.number("--gpu-id-step") - 1) // size
    if not places:
        raise StartError(
            f"an engine of these arguments takes {size} GPUs, and {gpus} can be seen here"
        )
    whole = workers - single
    taken = whole * size + single
    if taken <= gpus or (workers <= places and not single):
        bases = [*range(0, whole * size, size), *range(whole * size, taken)]
        return [
            Seat(("--base-gpu-id", str(base)) if workers > 1 else (), number)
            for number, base in enumerate(bases)
        ]
    if not share:
        start = f"start {places}" if size == 1 or not single else "start fewer"
        raise StartError(
            f"{workers} workers take {taken} GPUs, and {gpus} can be seen here: {start}, or let "
            "several have the same with --gpu-share"
        )
    return _shared(workers, places, size, divided=arguments.told("--mem-fraction-static") is None)


def _shared(workers: int, places: int, size: int, *, divided: bool) -> list[Seat]:
    """Returns a seat for each worker where there are fewer places of so many GPUs.

    Args:
        divided: the memory of a place falls to `kvmesh up` to divide.
    """
    return [
        Seat(
            ("--base-gpu-id", str(number % places * size)),
            number % places,
            len(range(number % places, workers, places)) if divided else 1,
        )
        for number in range(workers)
    ]
