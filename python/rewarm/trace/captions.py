"""The words of the report: its sections, what each figure measures and from where, and what the paper leaves open."""

from __future__ import annotations

from dataclasses import dataclass

HALF = ("fig3a", "fig3b", "fig3c", "fig4a", "fig4b", "fig6a", "fig6b", "fig7a", "fig7b", "fig10a", "fig10b", "fig10c", "fig10d")


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes:
        id: fig1, fig3a, …
        section: Where it stands.
        number: As the paper counts.
        title: Short.
        caption: What is measured, and from which columns.
        open: What the paper's definition leaves open, and how it is read here; empty where nothing is.
    """

    id: str
    section: str
    number: str
    title: str
    caption: str
    open: str = ""

    @property
    def half(self) -> bool:
        """Whether another figure stands beside it."""
        return self.id in HALF


SECTIONS: dict[str, tuple[str, str]] = {
    "sizes": ("Sizes", "How many rows, functions, users, pools and pods there are, and whether the tables join."),
    "functions": ("Functions and users", "How often functions run, for how long, with how much CPU, and who owns them."),
    "load": ("Load over time", "The daily pattern of requests, its peaks and troughs, and the holiday."),
    "running": ("Who runs", "Running pods, cold starts and functions by trigger, runtime and size."),
    "distributions": (
        "Cold-start times and gaps",
        "How long cold starts take, how far apart they come, and the laws fitted to both.",
    ),
    "components": ("Components over time", "The four parts of a cold start by hour, and cold starts per day and hour."),
    "correlation": ("Correlation", "Which parts rise together, minute by minute, and with the number of cold starts."),
    "pools": ("Small and large pools", "Cold starts in pools of at most 400 millicores and 256 MB against all larger ones."),
    "starts": (
        "Requests against cold starts",
        "Which functions start cold at nearly every request, and which cause most cold starts.",
    ),
    "breakdown": ("By runtime and trigger", "Total and components of cold starts by runtime and by trigger group."),
    "utility": ("Pod utility", "How long a pod was useful for each second that its cold start took."),
}
GROUPING = (
    "Triggers are grouped by one of two readings that give the paper's counts: five functions with two kinds of trigger could "
    "stand elsewhere."
)
FIGURES: tuple[Figure, ...] = (
    Figure(
        "fig1",
        "sizes",
        "Fig. 1",
        "Requests, functions and pods of the regions",
        "One bubble a region: requests (sum of the minute table requests) over functions (its columns); area = distinct "
        "podID of the cold starts.",
    ),
    Figure(
        "fig3a",
        "functions",
        "Fig. 3a",
        "Requests per day",
        "Share of functions with at most so many requests on their median day; minute table requests.",
        "The paper does not say whether days without a request count. Here the median is over the days on which the "
        "function ran.",
    ),
    Figure(
        "fig3b",
        "functions",
        "Fig. 3b",
        "Execution time",
        "Share of function-minutes whose mean runtimeCost is at most so long; minute table runtimeCost_avg, else the "
        "request table of day 30.",
        "The paper names no column. runtimeCost leaves out the worker's own overhead of about 0.1 ms.",
    ),
    Figure(
        "fig3c",
        "functions",
        "Fig. 3c",
        "CPU",
        "Share of function-minutes whose mean cpu_usage is at most so high; minute table cpu_usage_avg, else the request "
        "table of day 30.",
        "cpu_usage is that of the whole pod while a request ran, so requests that overlap count it twice.",
    ),
    Figure(
        "fig4a",
        "functions",
        "Fig. 4a",
        "Functions per user",
        "Share of users with at most so many functions; userID and funcID of the columns of the minute table.",
    ),
    Figure(
        "fig4b",
        "functions",
        "Fig. 4b",
        "Requests per user",
        "Share of users with at most so many requests; minute table requests summed over userID.",
    ),
    Figure(
        "fig5",
        "load",
        "Fig. 5",
        "Requests per minute",
        "Centred mean over 61 minutes, over its largest, for the first three days on end; the largest of each day is "
        "marked. Minute table requests.",
        "The paper names neither its smoother, nor its peak finder, nor its three days. The hours of the "
        "peaks are compared under four readings: means of 61 minutes, of 181 minutes and no smoothing on days 0 to 2, means of "
        "61 minutes on days 8 to 10.",
    ),
    Figure(
        "fig6a",
        "load",
        "Fig. 6a",
        "Peak-to-trough against requests",
        "Largest over smallest centred mean over 61 minutes, over the median requests of a day. One point a function; "
        "minute table requests.",
        "The paper finds peaks of the periodic pattern by a method that it does not name and sets functions without peaks "
        "to 1. Here the ratio is "
        "undefined below 1440 requests a day and where the trough is 0; such functions are counted, not drawn. What "
        "the text says of the ratios is compared under three readings: so, with means of 0 left out, and for the mean day.",
    ),
    Figure(
        "fig6b",
        "load",
        "Fig. 6b",
        "Peak-to-trough against cold starts",
        "As before, over the function's cold starts; cold-start table.",
        "As in Fig. 6a.",
    ),
    Figure(
        "fig7a",
        "load",
        "Fig. 7a",
        "Pods around the holiday",
        "Mean running pods of each day, days 10 to 25, over the largest of them; minute table num_pods. The holiday, days "
        "14 to 21, is shaded.",
        "The caption says normalised to the days before the holiday, yet every curve of the paper reaches 1 inside days 10 "
        "to 25: that is done here. "
        "Which days are holidays is inferred from the load.",
    ),
    Figure(
        "fig7b",
        "load",
        "Fig. 7b",
        "CPU around the holiday",
        "Mean cpu_usage over function-minutes of each day, over the largest; minute table cpu_usage_avg.",
        "As in Fig. 7a. Whether the paper weighs a minute by its requests is not said; here each function-minute counts once.",
    ),
    Figure(
        "fig8a",
        "running",
        "Fig. 8a",
        "Running pods by trigger",
        "Mean running pods of each hour by trigger group; minute table num_pods joined with the runtime table.",
        GROUPING,
    ),
    Figure(
        "fig8b",
        "running",
        "Fig. 8b",
        "Running pods by runtime",
        "Mean running pods of each hour by runtime; PHP7.3, Go1.x, C# and unknown are one group.",
    ),
    Figure(
        "fig8c",
        "running",
        "Fig. 8c",
        "Running pods by size",
        "Mean running pods of each hour by CPU and memory limit, taken from poolName.",
    ),
    Figure(
        "fig8d",
        "running",
        "Fig. 8d-f",
        "Shares of pods, cold starts and functions",
        "Shares by trigger, runtime and size: of mean running pods (num_pods), of cold starts, and of functions (runtime "
        "table).",
        GROUPING,
    ),
    Figure(
        "fig9",
        "running",
        "Fig. 9",
        "Triggers of each runtime",
        "Share of a runtime's functions in each trigger group; runtime table.",
        GROUPING,
    ),
    Figure(
        "fig10a",
        "distributions",
        "Fig. 10a",
        "Cold-start time by region",
        "Share of cold starts that take at most so long; totalCost_cold_start.",
    ),
    Figure(
        "fig10b",
        "distributions",
        "Fig. 10b",
        "Cold-start time, all regions, with LogNormal fits",
        "All regions pooled; LogNormal by binned maximum likelihood, by moments, and as drawn in the paper.",
        "The paper names no method of fitting and prints no goodness of fit.",
    ),
    Figure(
        "fig10c",
        "distributions",
        "Fig. 10c",
        "Time between cold starts by region",
        "Share of gaps between neighbouring cold starts of a region that are at most so long; time. Gaps across a day "
        "without rows are dropped.",
        "The paper's curves go below 1 ms, the resolution of the released stamps. Here equal stamps are gaps of 0 and share "
        "the first bucket, below 1 ms.",
    ),
    Figure(
        "fig10d",
        "distributions",
        "Fig. 10d",
        "Time between cold starts, all regions, with Weibull fits",
        "Gaps within each region, pooled; Weibull by binned maximum likelihood, by moments, and as drawn in the paper.",
        "The paper does not say that gaps are taken within regions; its fitted mean allows no other reading.",
    ),
    Figure(
        "fig11",
        "components",
        "Fig. 11",
        "Mean cold start by hour",
        "Mean of each component over the cold starts of an hour, stacked, and their number (line, right axis); cold-start "
        "table.",
    ),
    Figure(
        "fig12",
        "correlation",
        "Fig. 12",
        "Spearman's correlation of the minutes' means",
        "Ranks of the minute means of totalCost_cold_start and its components and of the minute's cold starts. Large: "
        "measured; small: the paper's. "
        "A dot marks p < 0.05.",
        "The paper does not say what happens to minutes without a cold start (left out here) or to functions without a "
        "layer (counted with 0 s here).",
    ),
    Figure(
        "fig13",
        "pools",
        "Fig. 13",
        "Small against large pools",
        "Shape over log seconds, with quartiles and median, of the total and each component. Small: at most 400 millicores "
        "and 256 MB, read from "
        "poolName. Dependency times of 0 (no layer) are left out.",
    ),
    Figure(
        "fig14",
        "starts",
        "Fig. 14",
        "Requests against cold starts",
        "One point a function: cold starts over requests (minute table requests), by trigger group. On the line every "
        "request starts cold.",
        GROUPING,
    ),
    Figure(
        "fig15",
        "breakdown",
        "Fig. 15",
        "Cold starts by runtime",
        "Share of cold starts that take at most so long: total and the four components. Dependency times of 0 are left out.",
    ),
    Figure(
        "fig16",
        "breakdown",
        "Fig. 16",
        "Cold starts by trigger group",
        "As before, by trigger group.",
        GROUPING
        + " The paper's curve of all triggers differs from that of all runtimes, so it covers only a part of the rows; "
        "here both are all rows.",
    ),
    Figure(
        "fig17a",
        "utility",
        "Fig. 17a",
        "Pod utility ratio by runtime",
        "Share of pods whose useful lifetime is at most so many times their cold-start time. Useful lifetime: last "
        "time_worker less first "
        "(time_worker - totalCost_worker), pods with a cold start on day 30; pods that may outlive the data are left out.",
        "The paper's curves cover 31 days, requests are published for day 30 only, and the end of a pod is not published at "
        "all. A lifetime that began before the cold start could not be shorter than it, as .169 are: it begins after. Nothing "
        "here can be more than partial.",
    ),
    Figure(
        "fig17b",
        "utility",
        "Fig. 17b",
        "Pod utility ratio by trigger group",
        "As before, by trigger group.",
        "As in Fig. 17a. " + GROUPING,
    ),
)
