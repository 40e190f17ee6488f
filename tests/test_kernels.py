"""Which kernels of CTranslate2 the tests are run under."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.kernels import VARIABLES, Unsupported, choices, describe, kernels

LOG = """\
[2026-01-01 00:00:00.000] [ctranslate2] [thread 1] [info] CPU: AuthenticAMD (SSE4.1=true, AVX=true, AVX2=true)
[2026-01-01 00:00:00.000] [ctranslate2] [thread 1] [info]  - Selected ISA: AVX2
[2026-01-01 00:00:00.000] [ctranslate2] [thread 1] [info]  - Use Intel MKL: false
[2026-01-01 00:00:00.000] [ctranslate2] [thread 1] [info]  - SGEMM backend: DNNL (packed: false)
[2026-01-01 00:00:00.000] [ctranslate2] [thread 1] [info] Loaded model models/whisper/base on device cpu:0
"""


def test_the_log_names_the_kernels() -> None:
    assert choices(LOG) == ("Selected ISA: AVX2", "Use Intel MKL: false", "SGEMM backend: DNNL (packed: false)")


def skipped(machine: Mapping[str, str], default_isa: str, default_gemm: str) -> dict[str, str]:
    """The kernels and why they are skipped, on a machine that answers ``describe`` like this."""

    def pretend(environment: Mapping[str, str]) -> tuple[str, ...]:
        isa = environment.get("CT2_FORCE_CPU_ISA", default_isa)
        if isa in machine:
            raise Unsupported(machine[isa])
        return (isa, "DNNL" if environment.get("CT2_USE_MKL") == "0" else default_gemm)

    return {kernel.name: kernel.skipped for kernel in kernels(pretend)}


def test_on_amd_other_instruction_sets_run() -> None:
    """Its default is oneDNN with AVX2."""
    default = "the same as this machine's default"
    assert skipped({}, "AVX2", "DNNL") == {"oneDNN": default, "AVX2": default, "AVX512": "", "GENERIC": ""}


def test_on_intel_onednn_runs_too() -> None:
    """And what the processor lacks is skipped with CTranslate2's words."""
    assert skipped({"AVX512": "The CPU does not support AVX512"}, "AVX2", "MKL") == {
        "oneDNN": "",
        "AVX2": "the same as this machine's default",
        "AVX512": "The CPU does not support AVX512",
        "GENERIC": "",
    }


@pytest.mark.model
@pytest.mark.slow
def test_the_variables_reach_ctranslate2(base_model: Path) -> None:
    """GENERIC is another kernel than the default, and an unknown instruction set is refused."""
    assert describe({}) != describe(VARIABLES["GENERIC"]) != ()
    with pytest.raises(Unsupported, match="FOO"):
        describe({"CT2_FORCE_CPU_ISA": "FOO"})
