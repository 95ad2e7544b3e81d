"""`python -m bench.gpu.diffusion.bare MODEL [SGLang's arguments as JSON]`: SGLang's DiffGenerator
alone. For each line of stdin, the keywords of a picture in JSON, it prints how many seconds that
took.
"""

import json
import os
import sys
import time
from typing import Any

from workers.sglang.cpu import activate_if_cpu_host

READY = "ready"


def main() -> None:
    if activate_if_cpu_host():  # to try this program without a GPU
        os.environ["SGLANG_DIFFUSION_PLATFORM_OVERRIDE"] = "cpu"
    from sglang.multimodal_gen import DiffGenerator  # noqa: PLC0415

    model, arguments = sys.argv[1], json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # SGLang prints
    generator: Any = DiffGenerator.from_pretrained(local_mode=True, model_path=model, **arguments)
    print(READY, file=answers)
    for line in sys.stdin:
        fields = {"save_output": False, "return_frames": True, "suppress_logs": True}
        began = time.perf_counter()
        made = generator.generate(sampling_params_kwargs=fields | json.loads(line))
        print(time.perf_counter() - began if made is not None else "failed", file=answers)
    generator.shutdown()


if __name__ == "__main__":
    main()
