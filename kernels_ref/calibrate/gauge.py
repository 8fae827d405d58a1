"""Clock, power and energy of the GPU at hand, by NVML; zeros where it is not there."""

import threading
import time
from contextlib import suppress
from typing import Any

import torch

EVERY_S = 0.01


class Gauge:
    """Reads one device. NVML's energy counter is kept by the driver; instant power by the board's sensor."""

    def __init__(self) -> None:
        self._nvml: Any = None
        with suppress(Exception):
            import pynvml

            pynvml.nvmlInit()
            uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
            self._device = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
            self._nvml = pynvml

    def clock_mhz(self) -> float:
        """Of the SMs."""
        return self._read(lambda nvml: nvml.nvmlDeviceGetClockInfo(self._device, nvml.NVML_CLOCK_SM))

    def memory_clock_mhz(self) -> float:
        """Of the memory."""
        return self._read(lambda nvml: nvml.nvmlDeviceGetClockInfo(self._device, nvml.NVML_CLOCK_MEM))

    def power_w(self) -> float:
        """At this instant where the board tells, else its own average."""
        found = self._read(self._instant_w)
        return found or self._read(lambda nvml: nvml.nvmlDeviceGetPowerUsage(self._device) / 1e3)

    def energy_j(self) -> float:
        """Since the driver was loaded."""
        return self._read(lambda nvml: nvml.nvmlDeviceGetTotalEnergyConsumption(self._device) / 1e3)

    def temperature_c(self) -> float:
        """Of the chip."""
        return self._read(lambda nvml: nvml.nvmlDeviceGetTemperature(self._device, nvml.NVML_TEMPERATURE_GPU))

    def limit_w(self) -> float:
        """The power that the board is held under."""
        return self._read(lambda nvml: nvml.nvmlDeviceGetEnforcedPowerLimit(self._device) / 1e3)

    def driver(self) -> str:
        """The driver's version."""
        found = ""
        with suppress(Exception):
            found = self._nvml.nvmlSystemGetDriverVersion()
        return found.decode() if isinstance(found, bytes) else found

    def _instant_w(self, nvml: Any) -> float:
        (value,) = nvml.nvmlDeviceGetFieldValues(self._device, [nvml.NVML_FI_DEV_POWER_INSTANT])
        return value.value.uiVal / 1e3 if value.nvmlReturn == 0 else 0.0

    def _read(self, call: Any) -> float:
        with suppress(Exception):
            return float(call(self._nvml))
        return 0.0


class Watch:
    """Samples power and clock in a thread while a block runs: `with Watch(gauge) as watch: ...; watch.power_w`."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge, self._stop = gauge, threading.Event()
        self._samples: list[tuple[float, float, float]] = []

    def __enter__(self) -> "Watch":
        self._from_j, self._from_s = self._gauge.energy_j(), time.perf_counter()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._from_s
        self.energy_j = self._gauge.energy_j() - self._from_j
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._samples.append((time.perf_counter(), self._gauge.power_w(), self._gauge.clock_mhz()))

    def after(self, skipped_s: float) -> tuple[int, float, float]:
        """(samples, mean power in W, mean SM clock in MHz), without those of the first seconds."""
        kept = [one for one in self._samples if one[0] - self._from_s >= skipped_s]
        if not kept:
            return 0, 0.0, 0.0
        return len(kept), sum(one[1] for one in kept) / len(kept), sum(one[2] for one in kept) / len(kept)
