"""What kvmesh changes of SGLang's grammars is still there to be changed, and the cache that it puts
in place has its bound.
"""

import pytest

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

_CHECK = """
from types import SimpleNamespace
from workers.sglang.cpu import activate_if_cpu_host
activate_if_cpu_host()
from sglang.srt.constrained.xgrammar_backend import XGrammarGrammar
from protocol.process.start_error import StartError
from workers.sglang.grammars.scheduler import CACHED_BYTES_MAX, CACHED_MAX, GrammarCache
from workers.sglang.seam.answers_table import GRAMMARS
from workers.sglang.seam.checks import check_seam

check_seam(GRAMMARS)
print("as expected")

half = SimpleNamespace(ctx=SimpleNamespace(memory_size_bytes=CACHED_BYTES_MAX // 2))
cache = GrammarCache()
for name in "abc":
    cache[name] = half
    cache.get("a")
print(*cache)
cache.clear()
for number in range(CACHED_MAX + 5):
    cache[number] = SimpleNamespace()
print(len(cache), cache.get(0), cache.get(5) is not None)

XGrammarGrammar.accept_token = XGrammarGrammar.rollback
try:
    check_seam(GRAMMARS)
except StartError as error:
    print(error)
"""


def test_sglang_is_as_expected_a_change_is_named_and_the_cache_is_bounded(python):
    done = python("-c", _CHECK)
    assert done.returncode == 0, done.stderr[-3000:]
    first, kept, counted, changed = done.stdout.splitlines()[-4:]
    assert (first, kept) == ("as expected", "c a")
    assert counted == "4096 None True"
    assert "SGLang has changed" in changed
