"""The divergences between a student q and a teacher p: value and slope at each position.

Each function takes log-probabilities `log_q_RV` and `log_p_RV` and returns `value_R` (nats) and
`slope_RV`, the derivative of the value with respect to the input of q's softmax. 0 log 0 is 0: a
token that a model rules out (-inf) adds nothing to a sum weighted by that model.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Result = tuple[torch.Tensor, torch.Tensor]
# log_q_RV, log_p_RV, the column sampled at each position, beta
Kind = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], Result]


def _ratio(log_a_RV: torch.Tensor, log_b_RV: torch.Tensor, a_RV: torch.Tensor) -> torch.Tensor:
    return (log_a_RV - log_b_RV).masked_fill_(a_RV == 0, 0)


def reverse_kl(log_q_RV: torch.Tensor, log_p_RV: torch.Tensor, *_: object) -> Result:
    """KL(q || p) = sum q (log q - log p); slope q (log q - log p - KL). arXiv 2605.27028."""
    q_RV = log_q_RV.exp()
    ratio_RV = _ratio(log_q_RV, log_p_RV, q_RV)
    kl_R = (q_RV * ratio_RV).sum(-1)
    return kl_R, ratio_RV.sub_(kl_R[:, None]).mul_(q_RV)


def forward_kl(log_q_RV: torch.Tensor, log_p_RV: torch.Tensor, *_: object) -> Result:
    """KL(p || q) = sum p (log p - log q); slope q - p."""
    p_RV = log_p_RV.exp()
    kl_R = (p_RV * _ratio(log_p_RV, log_q_RV, p_RV)).sum(-1)
    return kl_R, log_q_RV.exp() - p_RV


def jensen_shannon(
    log_q_RV: torch.Tensor, log_p_RV: torch.Tensor, _: torch.Tensor, beta: float
) -> Result:
    """beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q, 0 < beta < 1.

    Slope (1 - beta) q (s - sum q s) with s = log q - log m. arXiv 2306.13649, equation 1.
    """
    log_m_RV = torch.logaddexp(log_p_RV + math.log(beta), log_q_RV + math.log1p(-beta))
    q_RV, p_RV = log_q_RV.exp(), log_p_RV.exp()
    of_q_RV = _ratio(log_q_RV, log_m_RV, q_RV)
    kl_q_R = (q_RV * of_q_RV).sum(-1)
    kl_p_R = (p_RV * _ratio(log_p_RV, log_m_RV, p_RV)).sum(-1)
    slope_RV = (1 - beta) * q_RV * (of_q_RV - kl_q_R[:, None])
    return beta * kl_p_R + (1 - beta) * kl_q_R, slope_RV


def policy_gradient(
    log_q_RV: torch.Tensor, log_p_RV: torch.Tensor, sampled_R: torch.Tensor, _: float
) -> Result:
    """k1 log q(y) of the sampled token y; k1 = log q(y) - log p(y) is held constant.

    The slope k1 (1[v = y] - q) is a one-sample estimate: its expectation over y ~ q is the slope of
    the reverse KL. If y was sampled at another temperature, weight it by its importance. The
    derivative of k1 itself would be zero in expectation.
    """
    at_R1 = sampled_R[:, None]
    log_q_R1, log_p_R1 = log_q_RV.gather(-1, at_R1), log_p_RV.gather(-1, at_R1)
    k1_R1 = log_q_R1 - log_p_R1
    slope_RV = -k1_R1 * log_q_RV.exp()
    return (k1_R1 * log_q_R1)[:, 0], slope_RV.scatter_add(-1, at_R1, k1_R1)


KINDS: dict[str, Kind] = {
    "reverse_kl": reverse_kl,
    "forward_kl": forward_kl,
    "jensen_shannon": jensen_shannon,
    "policy_gradient": policy_gradient,
}
