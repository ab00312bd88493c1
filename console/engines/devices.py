"""Which device and number format a model runs in."""

from __future__ import annotations

import os
from enum import StrEnum

import torch

from console.errors import InputError


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


def resolve_device(wanted: str) -> torch.device:
    """The device to run on; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        InputError: the named device is unknown or not on this machine.
    """
    if wanted not in set(Device):
        raise InputError(f"'{wanted}' is not a device; choose auto, cpu, cuda or mps.")
    has = {Device.CUDA: torch.cuda.is_available(), Device.MPS: torch.backends.mps.is_available(), Device.CPU: True}
    if wanted == Device.AUTO:
        return torch.device(next(device for device in (Device.CUDA, Device.MPS, Device.CPU) if has[device]))
    if not has[Device(wanted)]:
        raise InputError(f"This machine has no usable {wanted} device; choose cpu or auto.")
    return torch.device(wanted)


def set_threads(threads: int | None = None) -> int:
    """Cap the compute threads of this process, once; returns the number in force.

    ``OMP_NUM_THREADS`` says how many, where whoever started the console has set it; else every core.

    One job runs at a time and waits passively, so it may use every core: measured on two cores,
    leaving one free made a training step take 1.5 times as long (117 against 179 tokens a second).
    """
    named = os.environ.get("OMP_NUM_THREADS", "")
    count = threads or (int(named) if named.isdigit() else 0) or os.cpu_count() or 1
    torch.set_num_threads(count)
    return count
