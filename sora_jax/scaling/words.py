"""What the fits of `summary.fit_all` can tell and what they cannot, in sentences."""

from __future__ import annotations

import math

NAMES = {
    "parametric": "the parametric fit",
    "projection": "the projection",
    "isoflop": "the IsoFLOP fit",
    "envelope": "the envelope",
}
REJECTED = (
    10.0  # difference of AIC from which the worse model has no support (Burnham & Anderson 2002, Sec. 2.6)
)
WIDE = 0.05  # a 95 % interval of a that is wider does not tell the published exponents apart
LEVEL, KIND = "95%", "t"


def in_words(result: dict) -> list[str]:
    """One sentence an entry, from the dict of `fit_all`."""
    return [
        *_span(result),
        *_exponents(result),
        *_budgets(result),
        *_floor(result),
        *_predictions(result),
        *result["notes"],
    ]


def _start(name: str) -> str:
    return NAMES[name][0].upper() + NAMES[name][1:]


def _fits(result: dict) -> dict[str, dict]:
    return {name: fit for name, fit in result["fits"].items() if "error" not in fit}


def _interval(fit: dict, name: str, level: str = LEVEL) -> tuple[float, float] | None:
    low, high = fit["intervals"][name][level][KIND]
    return None if low is None or high is None else (low, high)


def _span(result: dict) -> list[str]:
    low, high = result["flops"]
    decades = math.log10(high / low)
    says = [f"{result['runs']} runs span {decades:.1f} decades of compute, {low:.3g} to {high:.3g} FLOPs."]
    if decades < 2:
        says.append(
            "Below 2 decades a power law and a curve look alike: extrapolation beyond "
            f"{high:.3g} FLOPs is a guess."
        )
    else:
        says.append(
            f"A prediction beyond {10 * high:.3g} FLOPs, 1 decade above the largest run, is not supported."
        )
    return says


def _exponents(result: dict) -> list[str]:
    says, known = [], {}
    for name, fit in result["fits"].items():
        if "error" in fit:
            says.append(f"{_start(name)} could not be computed: {fit['error'].split(' Rejected:')[0]}.")
            continue
        interval, value = _interval(fit, "a"), fit["value"]["a"]
        if value is None or interval is None:
            says.append(f"{_start(name)} gives no exponent with an interval.")
            continue
        known[name] = interval
        width = interval[1] - interval[0]
        wide = f", {width:.2f} wide: too wide to tell published exponents apart ({WIDE})"
        tells = wide if width > WIDE else ""
        says.append(
            f"By {NAMES[name]} N_opt grows as C^{value:.3f}, {LEVEL} interval "
            f"{interval[0]:.3f} to {interval[1]:.3f}{tells}."
        )
        if fit["failed"] > 0:
            says.append(
                f"In {fit['failed']:.1%} of the resamples {NAMES[name]} failed: the interval is of the rest."
            )
        if fit.get("at_a_bound", 0) > 0.01:
            says.append(
                f"In {fit['at_a_bound']:.1%} of the resamples a constant of {NAMES[name]} lies at its bound "
                "(E = 0, or an exponent at the edge of what is looked at): the runs do not hold it."
            )
    if len(known) > 1:
        low, high = max(low for low, _ in known.values()), min(high for _, high in known.values())
        narrow = sum(above - below <= WIDE for below, above in known.values())
        if low > high:
            says.append(
                f"The {len(known)} estimators do not agree on a: no value lies in every interval, so that at "
                "least one is biased here."
            )
        elif narrow < 2:
            says.append(
                f"a from {low:.3f} to {high:.3f} lies in every interval; with intervals this wide that the "
                f"{len(known)} estimators do not contradict each other says little."
            )
        else:
            says.append(
                f"The {len(known)} estimators agree: a from {low:.3f} to {high:.3f} is in every interval."
            )
    return says


def _budgets(result: dict) -> list[str]:
    says = [
        f"Budget {budget['flops']:.3g} is rejected: {budget['rejected']}."
        for budget in result["budgets"]
        if budget["rejected"]
    ]
    if sum(budget["sizes"] >= 5 for budget in result["budgets"]) < 2:
        says.append(
            "There are no two budgets with 5 sizes each: the envelope is of bins of a quarter decade, and "
            "only as good as the sizes that happen to lie in each."
        )
    for budget in result["budgets"]:
        shift = budget["cubic_shift"]
        if not budget["rejected"] and (shift is None or abs(shift) > 0.15):
            moved = "has no minimum" if shift is None else f"has its minimum {abs(shift):.2f} decades away"
            says.append(
                f"At {budget['flops']:.3g} FLOPs a cubic {moved}: the parabola's minimum is not to be "
                "trusted; train sizes nearer to it."
            )
    return says


def _floor(result: dict) -> list[str]:
    says, gain = [], result["aic_without_floor_less_with"]
    if gain > REJECTED:
        says.append(f"A law without a floor E is rejected: its AIC is {gain:.1f} higher.")
    else:
        says.append(
            f"A law without a floor E is not rejected (AIC {gain:+.1f}, {REJECTED:.0f} needed): E may be 0."
        )
    for name, fit in _fits(result).items():
        tied = fit.get("correlation_of_E_and_alpha"), fit.get("correlation_of_E_and_beta")
        tight = [
            what
            for what, value in zip(("alpha", "beta"), tied, strict=True)
            if value is not None and abs(value) > 0.9
        ]
        if tight:
            numbers = ", ".join(f"{value:.2f}" for value in tied if value is not None and abs(value) > 0.9)
            says.append(
                f"In {NAMES[name]} E and {' and '.join(tight)} are correlated ({numbers}): E is not "
                "determined separately, only together with it."
            )
    return says


def _predictions(result: dict) -> list[str]:
    says = []
    for flops in result["at"]:
        for name, fit in _fits(result).items():
            key = f"loss@{flops:.6g}"
            interval = _interval(fit, key, "80%")
            if interval is None or fit["value"][key] is None:
                says.append(f"{_start(name)} gives no prediction at {flops:.3g} FLOPs.")
                continue
            loss, size = fit["value"][key], fit["value"][f"N@{flops:.6g}"]
            says.append(
                f"At {flops:.3g} FLOPs {NAMES[name]} predicts a loss of {loss:.4g} (80% interval "
                f"{interval[0]:.4g} to {interval[1]:.4g}) with {size:.3g} parameters."
            )
        if flops > 10 * result["flops"][1]:
            says.append(
                f"{flops:.3g} FLOPs lie more than 1 decade above the largest run: that prediction is a guess."
            )
    return says
