"""A machine with one of its figures multiplied."""

from dataclasses import replace

from kvsim.specs.hardware import Machine

# figure -> whether more of it is better
FIGURES = {
    "HBM bandwidth": True,
    "HBM capacity": True,
    "peak FLOP/s": True,
    "host link bandwidth": True,
    "host link latency": False,
    "peer link bandwidth": True,
    "power": False,
    "price": False,
}


def perturbed(machine: Machine, figure: str, factor: float) -> Machine:
    """The machine with `factor` times the figure: peaks of all types together, power at work and idle alike."""
    chip, link = machine.chip, machine.host_link
    if figure.startswith("HBM"):
        key = figure.removeprefix("HBM ")
        memory = chip.memory.model_copy(update={key: getattr(chip.memory, key) * factor})
        return replace(machine, chip=chip.model_copy(update={"memory": memory}))
    if figure == "peak FLOP/s":
        peaks = {name: value * factor for name, value in chip.peak.model_dump().items() if value is not None}
        return replace(machine, chip=chip.model_copy(update={"peak": chip.peak.model_copy(update=peaks)}))
    if figure.startswith("host link"):
        key = figure.removeprefix("host link ")
        return replace(machine, host_link=link.model_copy(update={key: getattr(link, key) * factor}))
    if figure == "peer link bandwidth":
        links = (peer.model_copy(update={"bandwidth": peer.bandwidth * factor}) for peer in machine.peer_links)
        return replace(machine, peer_links=tuple(links))
    if figure == "power":
        watts = {"power": chip.power * factor, "idle_power": chip.idle_power * factor}
        return replace(machine, chip=chip.model_copy(update=watts))
    if figure == "price":
        return replace(machine, price_usd_per_h=machine.price_usd_per_h * factor)
    raise ValueError(f"unknown figure {figure!r}")
