"""kvmesh relies on parts of SGLang that are not its public API: this fails, and says where, when
they change.
"""

import pytest

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

_CHECK = """
from workers.sglang.cpu import activate_if_cpu_host
activate_if_cpu_host()
from sglang.srt.managers.tokenizer_manager import TokenizerManager
from protocol.process.start_error import StartError
from workers.sglang.seam.checks import RELIED_ON, check_seam

check_seam()
print("as expected")

async def changed(self, obj):
    pass

TokenizerManager._wait_one_response = changed
try:
    check_seam()
except StartError as error:
    print(error)

from pathlib import Path
from sglang.srt.server_args import PortArgs
from workers.sglang.sockets import meet_in

others = [relied for relied in RELIED_ON if "_wait_one_response" not in relied.name]
meet_in(Path("/nowhere"))
check_seam(others)
PortArgs.init_new = staticmethod(check_seam)
try:
    check_seam(others)
except StartError as error:
    print(error)
"""


def test_sglang_is_as_the_seam_expects_it_and_a_change_is_named(python):
    done = python("-c", _CHECK)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second, third = done.stdout.splitlines()[-3:]
    assert first == "as expected"
    assert "_wait_one_response" in second
    assert "attn_dp_enabled_of" in third
