"""Bar chart of our throughput divided by each peer's."""

from pathlib import Path

from benchmarks.report import Results
from benchmarks.servers import OURS


def draw(results: Results, path: Path) -> None:
    """Writes the chart, grouped by workload, as PNG. Writes nothing if no peer was measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ratios = {
        (result.workload, result.server): ratio
        for result in results.all
        if not result.server.startswith(OURS)
        and result.unit.endswith("/s")
        and (ratio := results.ratio(result))
    }
    if not ratios:
        return
    workloads = list(dict.fromkeys(workload for workload, _ in ratios))
    servers = list(dict.fromkeys(server for _, server in ratios))
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.5 * len(workloads)))
    height = 0.8 / len(servers)
    for index, server in enumerate(servers):
        places = [place + index * height for place in range(len(workloads))]
        widths = [ratios.get((workload, server), 0) for workload in workloads]
        bars = axes.barh(places, widths, height, label=f"over {server}")
        axes.bar_label(bars, [f"{width:.1f}×" if width else "" for width in widths], padding=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(workloads))], workloads)
    axes.invert_yaxis()
    axes.set_xlabel("our throughput over theirs, in the same run")
    axes.margins(x=0.15)
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
