"""Checks of large libraries. Each is imported in its own process, so that a crash or hang becomes a finding."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from unlearn_sweep.engine.privacy.secrets import quiet_environment
from unlearn_sweep.sweeps.doctor.finding import Finding
from unlearn_sweep.sweeps.machine import this_machine

TIMEOUT_S = 90.0

TORCH_PROBE = """
import json, torch
capability = torch.backends.cpu.get_cpu_capability()
cuda = torch.cuda.is_available()
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
facts = dict(version=torch.__version__, built_for=torch.version.cuda, cuda=cuda, names=names, capability=capability,
             threads=torch.get_num_threads(), bf16=bool(cuda and torch.cuda.is_bf16_supported()))
print(json.dumps(facts))
"""
DEEPSPEED_PROBE = """
import json, deepspeed
from deepspeed.accelerator import get_accelerator
print("\\n" + json.dumps(dict(version=deepspeed.__version__, accelerator=get_accelerator().device_name())))
"""
RAY_PROBE = """
import json, ray, ray.dashboard.optional_deps
print(json.dumps(dict(version=ray.__version__)))
"""


def check_libraries() -> list[Finding]:
    """Check torch, vector units, flash attention, DeepSpeed and Ray; the slow imports run in parallel."""
    checks: list[Callable[[], Finding]] = [check_deepspeed, check_ray, check_torch]
    with ThreadPoolExecutor(len(checks)) as pool:
        deepspeed, ray, torch = pool.map(lambda check: check(), checks)
    return [torch, check_vector_units(), check_flash_attention(), deepspeed, ray]


def probe(code: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any] | str:
    """Run code in a new process and parse the last line it prints as JSON. If it fails, return the reason as text."""
    environment = {**os.environ, **quiet_environment()}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout_s:.0f} s"
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"ended with status {done.returncode}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def check_torch() -> Finding:
    """Check that torch can be imported and report its version, CUDA build, devices and threads."""
    facts = probe(TORCH_PROBE)
    if isinstance(facts, str):
        advice = "reinstall it: pip install -c constraints.txt --force-reinstall torch"
        return Finding(name="torch runs", status="fail", detail=facts, advice=advice)
    return judge_torch(facts, gpus=this_machine().gpus)


def judge_torch(facts: Mapping[str, Any], *, gpus: int) -> Finding:
    """Return the finding for what `TORCH_PROBE` printed, given the number of GPUs of the machine."""
    build = f"CUDA {facts['built_for']}" if facts["built_for"] else "CPU only"
    detail = f"{facts['version']} ({build}), {facts['threads']} threads, {facts['capability']}"
    if facts["cuda"]:
        numbers = "bfloat16" if facts["bf16"] else "no bfloat16"
        return Finding(name="torch runs", status="ok", detail=f"{detail}; {', '.join(facts['names'])}; {numbers}")
    if gpus and not facts["built_for"]:
        advice = "install a CUDA build of the same torch version"
        return Finding(name="torch runs", status="warn", detail=f"{detail}; {gpus} GPUs stay unused", advice=advice)
    if gpus:
        advice = "check nvidia-smi and that the driver is new enough for this CUDA"
        return Finding(name="torch runs", status="warn", detail=f"{detail}; cannot use {gpus} GPUs", advice=advice)
    return Finding(name="torch runs", status="ok", detail=f"{detail}; no GPU")


def check_vector_units(flags: frozenset[str] | None = None) -> Finding:
    """Report the CPU's bfloat16 support. bfloat16 is slow without it, so `dtype: auto` is float32 on a CPU."""
    found = cpu_flags() if flags is None else flags
    has = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in found]
    detail = ", ".join(has) or "no AVX2"
    if not {"avx512_bf16", "amx_bf16"} & found:
        detail += "; bfloat16 is slow on this CPU, `dtype: auto` uses float32"
    return Finding(name="vector units", status="ok", detail=detail)


def cpu_flags() -> frozenset[str]:
    """Return the feature flags of the first core; empty if the system does not list them."""
    try:
        with open("/proc/cpuinfo") as file:
            line = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())


def check_flash_attention() -> Finding:
    """Check for flash-attn, which is optional and only used on GPUs."""
    installed = importlib.util.find_spec("flash_attn") is not None
    if installed:
        return Finding(name="flash attention", status="ok", detail="installed; used on a GPU in bfloat16")
    if this_machine().gpus:
        advice = "pip install 'unlearn-sweep[gpu]'"
        return Finding(name="flash attention", status="warn", detail="not installed: sdpa is used", advice=advice)
    return Finding(name="flash attention", status="ok", detail="not installed, and no GPU to use it: sdpa is used")


def check_deepspeed() -> Finding:
    facts = probe(DEEPSPEED_PROBE)
    if isinstance(facts, str):
        advice = "keep `training: {backend: torch}`, or reinstall it: pip install -c constraints.txt deepspeed"
        return Finding(name="DeepSpeed runs", status="warn", detail=facts, advice=advice)
    return Finding(name="DeepSpeed runs", status="ok", detail=f"{facts['version']} on {facts['accelerator']}")


def check_ray() -> Finding:
    """Check that Ray and its dashboard can be imported. Ray is not started."""
    facts = probe(RAY_PROBE)
    if isinstance(facts, str):
        advice = "pip install -c constraints.txt 'ray[default,train,tune]': its dashboard is needed to free resources"
        return Finding(name="Ray dashboard", status="fail", detail=facts, advice=advice)
    return Finding(name="Ray dashboard", status="ok", detail=f"{facts['version']}, dashboard can start")
