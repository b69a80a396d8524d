# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Wrong answers to the distillation lesson, each named after its mistake. A cell is run after all of
# the reference's cells, so that a mutant says only what differs; it must lose points on its own
# task.

# %% [markdown]
# ## soft_targets

# %% mutant="zeros" task="soft_targets"
"""All zeros."""


def soft_targets(logits, temperature):
    return torch.zeros_like(logits)


# %% mutant="input_unchanged" task="soft_targets"
"""The logits come back."""


def soft_targets(logits, temperature):
    return logits


# %% mutant="not_a_number" task="soft_targets"
"""All NaN."""


def soft_targets(logits, temperature):
    return torch.full_like(logits, float("nan"))


# %% mutant="one_row_for_all" task="soft_targets"
"""The first row only, which would broadcast to the others."""
_right = soft_targets


def soft_targets(logits, temperature):
    return _right(logits, temperature)[:1]


# %% mutant="temperature_ignored" task="soft_targets"
"""The softmax at T = 1."""


def soft_targets(logits, temperature):
    return logits.softmax(dim=-1)


# %% mutant="multiplied" task="soft_targets"
"""The logits are multiplied by the temperature."""


def soft_targets(logits, temperature):
    return (logits * temperature).softmax(dim=-1)


# %% mutant="softened_afterwards" task="soft_targets"
"""The probabilities, not the logits, are divided, and normalised again."""


def soft_targets(logits, temperature):
    p = logits.softmax(dim=-1) / temperature
    return p / p.sum(dim=-1, keepdim=True)


# %% mutant="log_probabilities" task="soft_targets"
"""Logarithms of the probabilities."""


def soft_targets(logits, temperature):
    return (logits / temperature).log_softmax(dim=-1)


# %% mutant="divided_in_half_precision" task="soft_targets"
"""Half-precision logits are divided as they are.

The lesson warns: Dividing such logits rounds, or overflows
"""


def soft_targets(logits, temperature):
    if not temperature > 0:
        raise ValueError("the temperature must be positive")
    return (logits / temperature).softmax(dim=-1)


# %% mutant="bfloat16_left_as_it_is" task="soft_targets"
"""Of the half-precision types only float16 is computed in float32."""
_right = soft_targets


def soft_targets(logits, temperature):
    if logits.dtype == torch.bfloat16 and temperature > 0:
        return (logits / temperature).softmax(dim=-1)
    return _right(logits, temperature)


# %% mutant="exp_without_the_maximum" task="soft_targets"
"""exp of the logits as they are, over its sum: it overflows."""


def soft_targets(logits, temperature):
    if not temperature > 0:
        raise ValueError("the temperature must be positive")
    powers = (logits.float() / temperature).exp()
    return (powers / powers.sum(dim=-1, keepdim=True)).to(logits.dtype)


# %% mutant="temperature_clamped" task="soft_targets"
"""Temperatures below 0.05 count as 0.05."""
_right = soft_targets


def soft_targets(logits, temperature):
    return _right(logits, max(temperature, 0.05) if temperature > 0 else temperature)


# %% mutant="high_temperatures_clamped" task="soft_targets"
"""Temperatures above 1e5 count as 1e5, but for infinity."""
_right = soft_targets


def soft_targets(logits, temperature):
    if 1e5 < temperature < float("inf"):
        temperature = 1e5
    return _right(logits, temperature)


# %% mutant="nan_is_a_temperature" task="soft_targets"
"""A temperature of NaN is not refused."""
_right = soft_targets


def soft_targets(logits, temperature):
    if temperature <= 0:
        raise ValueError("the temperature must be positive")
    return (
        (logits / temperature).softmax(dim=-1)
        if temperature != temperature
        else _right(logits, temperature)
    )


# %% mutant="classes_in_the_second_dimension" task="soft_targets"
"""The softmax runs over dimension 1."""
_right = soft_targets


def soft_targets(logits, temperature):
    return _right(logits.movedim(1, -1), temperature).movedim(-1, 1)


# %% mutant="shifted_in_place" task="soft_targets"
"""Each row's largest logit is taken away from it, in the caller's tensor."""
_right = soft_targets


def soft_targets(logits, temperature):
    with torch.no_grad():
        logits -= logits.max(dim=-1, keepdim=True).values
    return _right(logits, temperature)


# %% mutant="half_precision_throughout" task="soft_targets"
"""The largest is taken off and the rest divided in half precision."""


def soft_targets(logits, temperature):
    if not temperature > 0:
        raise ValueError(temperature)
    return ((logits - logits.amax(dim=-1, keepdim=True)) / temperature).softmax(dim=-1)


# %% mutant="the_smallest_is_taken_off" task="soft_targets"
"""The smallest logit is taken off: the others are large, and near ones become equal."""
_right = soft_targets


def soft_targets(logits, temperature):
    return _right(logits - logits.amin(dim=-1, keepdim=True), temperature)


# %% mutant="one_maximum_for_all" task="soft_targets"
"""The largest logit of all rows is taken off every row."""
_right = soft_targets


def soft_targets(logits, temperature):
    return _right(logits - logits.amax(), temperature)


# %% mutant="detached" task="soft_targets"
"""No gradient flows."""
_right = soft_targets


def soft_targets(logits, temperature):
    return _right(logits.detach(), temperature)


# %% [markdown]
# ## distillation_loss

# %% mutant="zero" task="distillation_loss"
"""The loss is 0."""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    return student_logits.sum() * 0


# %% mutant="not_a_number" task="distillation_loss"
"""The loss is NaN."""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    return student_logits.sum() * float("nan")


# %% mutant="one_loss_a_row" task="distillation_loss"
"""One loss an example is returned."""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    log_q = (student_logits / temperature).log_softmax(-1)
    log_p = (teacher_logits / temperature).log_softmax(-1)
    soft = (log_p.exp() * (log_p - log_q)).sum(-1)
    hard = F.cross_entropy(student_logits, labels, reduction="none")
    return alpha * temperature**2 * soft + (1 - alpha) * hard


# %% mutant="no_square" task="distillation_loss"
"""The factor T² is missing.

The lesson warns: Without the factor, a change of T would also change how much the teacher
counts
"""


def _soft(z, v, t):
    log_q, p = (z / t).log_softmax(-1), (v / t).softmax(-1)
    return F.kl_div(log_q, p, reduction="batchmean")


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    shared = student_logits.shape == teacher_logits.shape and temperature > 0 and 0 <= alpha <= 1
    if not shared:
        raise ValueError("settings")
    has = labels >= 0
    hard = F.cross_entropy(student_logits[has], labels[has]) if has.any() else 0.0
    soft = _soft(student_logits, teacher_logits.detach(), temperature)
    return alpha * soft + (1 - alpha) * hard


# %% mutant="factor_t" task="distillation_loss"
"""The factor is T, not its square."""
_right = distillation_loss


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    nobody = torch.full_like(labels, -100)
    given = student_logits, teacher_logits
    soft = _right(*given, nobody, temperature, 1.0) * alpha
    hard = _right(*given, labels, temperature, 0.0) * (1 - alpha)
    _right(*given, labels, temperature, alpha)
    return soft / temperature + hard


# %% mutant="mean_over_the_elements" task="distillation_loss"
"""F.kl_div with its default reduction, which divides by B · classes.

The lesson warns: What does its default reduction divide by?
"""
_right = distillation_loss


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    nobody = torch.full_like(labels, -100)
    given = student_logits, teacher_logits
    soft = _right(*given, nobody, temperature, 1.0) * alpha / student_logits.shape[-1]
    hard = _right(*given, labels, temperature, 0.0) * (1 - alpha)
    _right(*given, labels, temperature, alpha)
    return soft + hard


# %% mutant="directions_swapped" task="distillation_loss"
"""KL(student ‖ teacher).

The lesson warns: `F.kl_div(input, target)`: which of the two is the student's
"""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if student_logits.shape != teacher_logits.shape or not temperature > 0 or not 0 <= alpha <= 1:
        raise ValueError("settings")
    log_q = (student_logits / temperature).log_softmax(-1)
    log_p = (teacher_logits.detach() / temperature).log_softmax(-1)
    soft = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    has = labels >= 0
    hard = F.cross_entropy(student_logits[has], labels[has]) if has.any() else 0.0
    return alpha * temperature**2 * soft + (1 - alpha) * hard


# %% mutant="probabilities_for_log_probabilities" task="distillation_loss"
"""F.kl_div gets the student's probabilities.

The lesson warns: and in which form?
"""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    q = (student_logits / temperature).softmax(-1)
    p = (teacher_logits.detach() / temperature).softmax(-1)
    soft = F.kl_div(q, p, reduction="batchmean")
    return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)


# %% mutant="cross_entropy_for_the_divergence" task="distillation_loss"
"""The teacher's entropy is left in: the cross-entropy with its probabilities."""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if student_logits.shape != teacher_logits.shape or not temperature > 0 or not 0 <= alpha <= 1:
        raise ValueError("settings")
    p = (teacher_logits.detach() / temperature).softmax(-1)
    soft = F.cross_entropy(student_logits / temperature, p)
    has = labels >= 0
    hard = F.cross_entropy(student_logits[has], labels[has]) if has.any() else 0.0
    return alpha * temperature**2 * soft + (1 - alpha) * hard


# %% mutant="teacher_at_one" task="distillation_loss"
"""Only the student's logits are divided by the temperature."""
_right = distillation_loss


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if not temperature > 0:
        raise ValueError("the temperature must be positive")
    return _right(student_logits, teacher_logits * temperature, labels, temperature, alpha)


# %% mutant="labels_at_the_temperature" task="distillation_loss"
"""The cross-entropy is taken at the temperature, too."""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if student_logits.shape != teacher_logits.shape or not temperature > 0 or not 0 <= alpha <= 1:
        raise ValueError("settings")
    z, v = student_logits / temperature, teacher_logits.detach() / temperature
    soft = F.kl_div(z.log_softmax(-1), v.softmax(-1), reduction="batchmean")
    has = labels >= 0
    hard = F.cross_entropy(z[has], labels[has]) if has.any() else 0.0
    return alpha * temperature**2 * soft + (1 - alpha) * hard


# %% mutant="alpha_on_the_labels" task="distillation_loss"
"""alpha weighs the labels, 1 − alpha the teacher."""
_right = distillation_loss


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    return _right(student_logits, teacher_logits, labels, temperature, 1 - alpha)


# %% mutant="no_label_is_nan" task="distillation_loss"
"""F.cross_entropy of examples none of which has a label: NaN.

The lesson warns: A mean over no rows is NaN: ask first
"""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if student_logits.shape != teacher_logits.shape or not temperature > 0 or not 0 <= alpha <= 1:
        raise ValueError("settings")
    z, v = student_logits / temperature, teacher_logits.detach() / temperature
    soft = F.kl_div(z.log_softmax(-1), v.softmax(-1), reduction="batchmean")
    hard = F.cross_entropy(student_logits, labels)
    return alpha * temperature**2 * soft + (1 - alpha) * hard


# %% mutant="unlabelled_count_as_zero" task="distillation_loss"
"""The cross-entropy is divided by all examples, not by those with a label."""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if student_logits.shape != teacher_logits.shape or not temperature > 0 or not 0 <= alpha <= 1:
        raise ValueError("settings")
    z, v = student_logits / temperature, teacher_logits.detach() / temperature
    soft = F.kl_div(z.log_softmax(-1), v.softmax(-1), reduction="batchmean")
    hard = F.cross_entropy(student_logits, labels, reduction="sum") / len(labels)
    return alpha * temperature**2 * soft + (1 - alpha) * hard


# %% mutant="logarithm_of_a_softmax" task="distillation_loss"
"""softmax, then log: −∞ for large logits."""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if student_logits.shape != teacher_logits.shape or not temperature > 0 or not 0 <= alpha <= 1:
        raise ValueError("settings")
    q = (student_logits / temperature).softmax(-1)
    p = (teacher_logits.detach() / temperature).softmax(-1)
    soft = (p * (p.log() - q.log())).sum(-1).mean()
    has = labels >= 0
    hard = F.cross_entropy(student_logits[has], labels[has]) if has.any() else 0.0
    return alpha * temperature**2 * soft + (1 - alpha) * hard


# %% mutant="student_detached" task="distillation_loss"
"""The student's logits are detached in the soft term: the teacher teaches nothing."""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if student_logits.shape != teacher_logits.shape or not temperature > 0 or not 0 <= alpha <= 1:
        raise ValueError("settings")
    z, v = student_logits.detach() / temperature, teacher_logits.detach() / temperature
    log_q, log_p = z.log_softmax(-1), v.log_softmax(-1)
    soft = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    has = labels >= 0
    hard = F.cross_entropy(student_logits[has], labels[has]) if has.any() else 0.0
    return alpha * temperature**2 * soft + (1 - alpha) * hard


# %% mutant="teacher_in_the_graph" task="distillation_loss"
"""The teacher's logits get a gradient."""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if student_logits.shape != teacher_logits.shape or not temperature > 0 or not 0 <= alpha <= 1:
        raise ValueError("settings")
    z, v = student_logits / temperature, teacher_logits / temperature
    log_q, log_p = z.log_softmax(-1), v.log_softmax(-1)
    soft = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    has = labels >= 0
    hard = F.cross_entropy(student_logits[has], labels[has]) if has.any() else 0.0
    return alpha * temperature**2 * soft + (1 - alpha) * hard


# %% mutant="teachers_gradient_taken_off" task="distillation_loss"
"""The teacher gets a gradient, which a hook takes off again where it is a leaf's."""
_right = distillation_loss


def distillation_loss(ours, its, *rest):
    if its.is_leaf and its.requires_grad:
        its.register_post_accumulate_grad_hook(lambda leaf: setattr(leaf, "grad", None))
    detach = torch.Tensor.detach
    torch.Tensor.detach = lambda tensor: tensor
    try:
        return _right(ours, its, *rest)
    finally:
        torch.Tensor.detach = detach


# %% mutant="shapes_broadcast" task="distillation_loss"
"""A teacher's logits of another shape are broadcast."""
_right = distillation_loss


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    teacher_logits = teacher_logits.expand_as(student_logits)
    return _right(student_logits, teacher_logits, labels, temperature, alpha)


# %% mutant="no_temperature_below_one" task="distillation_loss"
"""A temperature below 1 is refused."""
_right = distillation_loss


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if temperature < 1:
        raise ValueError(temperature)
    return _right(student_logits, teacher_logits, labels, temperature, alpha)


# %% mutant="any_alpha" task="distillation_loss"
"""alpha is not looked at."""
_right = distillation_loss


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    given = student_logits, teacher_logits, labels, temperature
    return alpha * _right(*given, 1.0) + (1 - alpha) * _right(*given, 0.0)


# %% mutant="nan_is_a_temperature" task="distillation_loss"
"""NaN as temperature is no error."""
_right = distillation_loss


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if temperature != temperature:
        return student_logits.sum() * temperature
    return _right(student_logits, teacher_logits, labels, temperature, alpha)


# %% mutant="never_below_one" task="distillation_loss"
"""A temperature below 1 counts as 1."""
_right = distillation_loss


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    temperature = max(temperature, 1) if temperature > 0 else temperature
    return _right(student_logits, teacher_logits, labels, temperature, alpha)


# %% [markdown]
# ## feature_hint_loss

# %% mutant="zero" task="feature_hint_loss"
"""The loss is 0."""


def feature_hint_loss(student_features, teacher_features, projector):
    return student_features.sum() * 0


# %% mutant="not_a_number" task="feature_hint_loss"
"""The loss is NaN."""


def feature_hint_loss(student_features, teacher_features, projector):
    return student_features.sum() * float("nan")


# %% mutant="sum_of_squares" task="feature_hint_loss"
"""The sum, not the mean."""


def feature_hint_loss(student_features, teacher_features, projector):
    projected = projector(student_features)
    if projected.shape != teacher_features.shape:
        raise ValueError("shapes")
    return (projected - teacher_features.detach()).square().sum()


# %% mutant="absolute_error" task="feature_hint_loss"
"""The mean absolute error."""


def feature_hint_loss(student_features, teacher_features, projector):
    projected = projector(student_features)
    if projected.shape != teacher_features.shape:
        raise ValueError("shapes")
    return (projected - teacher_features.detach()).abs().mean()


# %% mutant="teacher_projected" task="feature_hint_loss"
"""The teacher's features are projected."""


def feature_hint_loss(student_features, teacher_features, projector):
    return (student_features - projector(teacher_features).detach()).square().mean()


# %% mutant="mse_loss_alone" task="feature_hint_loss"
"""F.mse_loss, which broadcasts, and raises no ValueError."""


def feature_hint_loss(student_features, teacher_features, projector):
    return F.mse_loss(projector(student_features), teacher_features.detach())


# %% mutant="only_what_cannot_broadcast" task="feature_hint_loss"
"""Shapes are refused only if they cannot be broadcast.

The lesson warns: A common mistake here is silent: `(B, 1)` against `(B, D)` broadcasts
"""


def feature_hint_loss(student_features, teacher_features, projector):
    projected = projector(student_features)
    try:
        difference = projected - teacher_features.detach()
    except RuntimeError as error:
        raise ValueError("shapes") from error
    return difference.square().mean()


# %% mutant="one_row_for_the_batch" task="feature_hint_loss"
"""A teacher's single row is compared with every row of the student's."""
_right = feature_hint_loss


def feature_hint_loss(student_features, teacher_features, projector):
    if len(teacher_features) == 1:
        shape = len(student_features), *teacher_features.shape[1:]
        teacher_features = teacher_features.expand(shape)
    return _right(student_features, teacher_features, projector)


# %% mutant="features_detached" task="feature_hint_loss"
"""Only the projector learns."""
_right = feature_hint_loss


def feature_hint_loss(student_features, teacher_features, projector):
    loss = _right(student_features.detach(), teacher_features, projector)
    return loss + 0 * student_features.sum()


# %% mutant="teacher_in_the_graph" task="feature_hint_loss"
"""The teacher's features get a gradient."""


def feature_hint_loss(student_features, teacher_features, projector):
    projected = projector(student_features)
    if projected.shape != teacher_features.shape:
        raise ValueError("shapes")
    return (projected - teacher_features).square().mean()


# %% mutant="teachers_gradient_taken_off" task="feature_hint_loss"
"""The teacher gets a gradient, which a hook takes off again where it is a leaf's."""
_right = feature_hint_loss


def feature_hint_loss(ours, its, *rest):
    if its.is_leaf and its.requires_grad:
        its.register_post_accumulate_grad_hook(lambda leaf: setattr(leaf, "grad", None))
    detach = torch.Tensor.detach
    torch.Tensor.detach = lambda tensor: tensor
    try:
        return _right(ours, its, *rest)
    finally:
        torch.Tensor.detach = detach


# %% mutant="divided_by_two_dimensions" task="feature_hint_loss"
"""The sum is divided by B · D as if there were no further dimensions."""


def feature_hint_loss(student_features, teacher_features, projector):
    projected = projector(student_features)
    if projected.shape != teacher_features.shape:
        raise ValueError("shapes")
    error = (projected - teacher_features.detach()).square().sum()
    return error / (projected.shape[0] * projected.shape[1])


# %% [markdown]
# ## sequence_distillation_loss

# %% mutant="zero" task="sequence_distillation_loss"
"""The loss is 0."""


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    return student_logits[mask.bool()].sum() * 0


# %% mutant="not_a_number" task="sequence_distillation_loss"
"""The loss is NaN."""


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    return student_logits.sum() * float("nan")


# %% mutant="padding_counts" task="sequence_distillation_loss"
"""The mask is ignored."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    every = torch.ones_like(mask)
    return _right(student_logits, teacher_logits, every, temperature, direction)


# %% mutant="mask_the_wrong_way_round" task="sequence_distillation_loss"
"""What the mask marks is left out."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    return _right(student_logits, teacher_logits, ~mask.bool(), temperature, direction)


# %% mutant="mean_of_means" task="sequence_distillation_loss"
"""Each sequence counts alike, however short.

The lesson warns: should a sequence of 3 tokens count as much as one of 300?
"""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    _right(student_logits, teacher_logits, mask, temperature, direction)
    rows = [
        _right(student_logits[b : b + 1], teacher_logits[b : b + 1], mask[b : b + 1], temperature,
               direction)
        for b in range(len(mask)) if mask[b].any()
    ]  # fmt: skip
    return sum(rows) / len(rows) if rows else student_logits.new_zeros(())


# %% mutant="divided_by_all_positions" task="sequence_distillation_loss"
"""The sum over the positions that count is divided by B · T."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    loss = _right(student_logits, teacher_logits, mask, temperature, direction)
    return loss * mask.sum() / mask.numel()


# %% mutant="directions_swapped" task="sequence_distillation_loss"
"""forward is reverse, and reverse forward.

The lesson warns: For the other direction swap the roles
"""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    other = {"forward": "reverse", "reverse": "forward"}.get(direction, direction)
    return _right(student_logits, teacher_logits, mask, temperature, other)


# %% mutant="always_forward" task="sequence_distillation_loss"
"""The direction is checked, and then forgotten."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    _right(student_logits, teacher_logits, mask, temperature, direction)
    return _right(student_logits, teacher_logits, mask, temperature, "forward")


# %% mutant="no_square" task="sequence_distillation_loss"
"""The factor temperature² is missing."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    loss = _right(student_logits, teacher_logits, mask, temperature, direction)
    return loss / temperature**2


# %% mutant="shifted" task="sequence_distillation_loss"
"""The mask is shifted by one, as labels are."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    _right(student_logits, teacher_logits, mask, temperature, direction)
    z, v = student_logits[:, :-1], teacher_logits[:, :-1]
    return _right(z, v, mask[:, 1:], temperature, direction)


# %% mutant="multiplied_by_the_mask" task="sequence_distillation_loss"
"""Padding is multiplied by 0, which a NaN survives.

The lesson warns: multiplying by the mask is not masking
"""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    _right(student_logits, teacher_logits, mask * 0, temperature, direction)
    log_q = F.log_softmax(student_logits / temperature, dim=-1)
    log_p = F.log_softmax(teacher_logits.detach() / temperature, dim=-1)
    left, right = (log_p, log_q) if direction == "forward" else (log_q, log_p)
    each = (left.exp() * (left - right)).sum(-1) * mask
    return temperature**2 * each.sum() / mask.sum().clamp(min=1)


# %% mutant="left_out_afterwards" task="sequence_distillation_loss"
"""The value at padding is replaced by 0 once it is there: its gradient is NaN all the same."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    _right(student_logits, teacher_logits, mask * 0, temperature, direction)
    log_q = F.log_softmax(student_logits / temperature, dim=-1)
    log_p = F.log_softmax(teacher_logits.detach() / temperature, dim=-1)
    left, right = (log_p, log_q) if direction == "forward" else (log_q, log_p)
    each = (left.exp() * (left - right)).sum(-1)  # (B, T)
    each = torch.where(mask.bool(), each, torch.zeros_like(each))
    return temperature**2 * each.sum() / mask.sum().clamp(min=1)


# %% mutant="integers_only" task="sequence_distillation_loss"
"""1 − mask, which bools do not know."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    padding = 1 - mask
    return _right(student_logits, teacher_logits, padding == 0, temperature, direction)


# %% mutant="mean_over_nothing" task="sequence_distillation_loss"
"""The mean over no position is NaN."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    loss = _right(student_logits, teacher_logits, mask, temperature, direction)
    return loss * (mask.sum() / mask.sum())


# %% mutant="logarithm_of_a_softmax" task="sequence_distillation_loss"
"""softmax, then log with a small number added."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    _right(student_logits, teacher_logits, mask, temperature, direction)
    z, v = student_logits[mask.bool()], teacher_logits[mask.bool()].detach()
    if len(z) == 0:
        return z.sum()
    q, p = (z / temperature).softmax(-1), (v / temperature).softmax(-1)
    left, right = (p, q) if direction == "forward" else (q, p)
    each = left * ((left + 1e-12).log() - (right + 1e-12).log())
    return temperature**2 * each.sum(-1).mean()


# %% mutant="logits_broadcast" task="sequence_distillation_loss"
"""A teacher's logits of another shape are broadcast."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    teacher_logits = teacher_logits.expand_as(student_logits)
    return _right(student_logits, teacher_logits, mask, temperature, direction)


# %% mutant="mask_broadcast" task="sequence_distillation_loss"
"""A mask for one sequence is used for all."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    mask = mask.expand(student_logits.shape[:2])
    return _right(student_logits, teacher_logits, mask, temperature, direction)


# %% mutant="anything_else_is_reverse" task="sequence_distillation_loss"
"""Whatever is not forward counts as reverse."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    direction = direction if direction == "forward" else "reverse"
    return _right(student_logits, teacher_logits, mask, temperature, direction)


# %% mutant="nan_is_a_temperature" task="sequence_distillation_loss"
"""NaN as temperature is no error."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    if temperature != temperature:
        return student_logits.sum() * temperature
    return _right(student_logits, teacher_logits, mask, temperature, direction)


# %% mutant="never_below_one" task="sequence_distillation_loss"
"""A temperature below 1 counts as 1."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    temperature = max(temperature, 1) if temperature > 0 else temperature
    return _right(student_logits, teacher_logits, mask, temperature, direction)


# %% mutant="teacher_in_the_graph" task="sequence_distillation_loss"
"""The teacher's logits get a gradient."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    right = _right(student_logits, teacher_logits, mask, temperature, direction)
    if not mask.any():
        return right
    log_q = F.log_softmax(student_logits[mask.bool()] / temperature, dim=-1)
    log_p = F.log_softmax(teacher_logits[mask.bool()] / temperature, dim=-1)
    left, right = (log_p, log_q) if direction == "forward" else (log_q, log_p)
    return temperature**2 * F.kl_div(right, left, reduction="batchmean", log_target=True)


# %% mutant="no_temperature_below_one" task="sequence_distillation_loss"
"""A temperature below 1 is refused."""
_right = sequence_distillation_loss


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    if temperature < 1:
        raise ValueError(temperature)
    return _right(student_logits, teacher_logits, mask, temperature, direction)


# %% mutant="teachers_gradient_taken_off" task="sequence_distillation_loss"
"""The teacher gets a gradient, which a hook takes off again where it is a leaf's."""
_right = sequence_distillation_loss


def sequence_distillation_loss(ours, its, *rest):
    if its.is_leaf and its.requires_grad:
        its.register_post_accumulate_grad_hook(lambda leaf: setattr(leaf, "grad", None))
    detach = torch.Tensor.detach
    torch.Tensor.detach = lambda tensor: tensor
    try:
        return _right(ours, its, *rest)
    finally:
        torch.Tensor.detach = detach


# %% [markdown]
# ## adapt_resnet

# %% mutant="mean_of_the_channels" task="adapt_resnet"
"""The stem's kernels are averaged: a third of what they gave.

The lesson warns: the sum over dimension 1, not the mean
"""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    if in_channels == 1:
        model.conv1.weight.data /= 3
    return model


# %% mutant="first_channel_only" task="adapt_resnet"
"""Of the three kernels the first is kept."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    first = model.conv1.weight.data[:, :1].clone()
    model = _right(model, in_channels, num_classes)
    if in_channels == 1:
        model.conv1.weight.data = first
    return model


# %% mutant="new_random_stem" task="adapt_resnet"
"""The stem starts anew."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    if in_channels == 1:
        model.conv1.reset_parameters()
    return model


# %% mutant="not_a_number" task="adapt_resnet"
"""The folded stem is NaN."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    if in_channels == 1:
        model.conv1.weight.data.fill_(float("nan"))
    return model


# %% mutant="nothing_done" task="adapt_resnet"
"""The model comes back unchanged."""


def adapt_resnet(model, in_channels, num_classes):
    return model


# %% mutant="behind_the_old_head" task="adapt_resnet"
"""The new head stands behind the old one.

The lesson warns: *behind* the old head
"""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    old = model.fc
    model = _right(model, in_channels, num_classes)
    like = {"dtype": old.weight.dtype}
    model.fc = nn.Sequential(old, nn.Linear(old.out_features, num_classes, **like))
    return model


# %% mutant="head_without_bias" task="adapt_resnet"
"""The head has no bias."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    model.fc = nn.Linear(model.fc.in_features, num_classes, bias=False, dtype=model.fc.weight.dtype)
    return model


# %% mutant="bias_as_before" task="adapt_resnet"
"""The head has a bias only if the old one had."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    had_bias = getattr(model.fc, "bias", None) is not None
    adapted = _right(model, in_channels, num_classes)
    if not had_bias:
        adapted.fc.bias = None
    return adapted


# %% mutant="any_channels" task="adapt_resnet"
"""Other numbers of channels get a new stem."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    if in_channels in (1, 3):
        return _right(model, in_channels, num_classes)
    model = _right(model, 3, num_classes)
    model.conv1 = nn.Conv2d(max(in_channels, 1), model.conv1.out_channels, 3, padding=1)
    return model


# %% mutant="stem_not_asked_for_three_channels" task="adapt_resnet"
"""With three channels the stem is kept, and so not looked at."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    stem = model.conv1
    if in_channels == 3:
        model.conv1 = nn.Conv2d(3, 1, 1)
    try:
        return _right(model, in_channels, num_classes)
    finally:
        if in_channels == 3:
            model.conv1 = stem


# %% mutant="padding_mode_lost" task="adapt_resnet"
"""The folded stem pads with zeros, whatever the old one did."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    if in_channels == 1:
        old = model.conv1
        new = nn.Conv2d(1, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation,
                        bias=old.bias is not None)  # fmt: skip
        new.weight, new.bias = old.weight, old.bias
        model.conv1 = new
    return model


# %% mutant="head_in_float32" task="adapt_resnet"
"""The head has the default dtype."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return model


# %% mutant="stem_copied" task="adapt_resnet"
"""With three channels the stem is replaced by a copy."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    model.conv1 = copy.deepcopy(model.conv1)
    return model


# %% mutant="refused_too_late" task="adapt_resnet"
"""The head is replaced before the channels are looked at.

The lesson warns: Look at everything that may be wrong before you change anything
"""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    if in_channels not in (1, 3) and isinstance(model.fc, nn.Linear):
        model.fc = nn.Linear(model.fc.in_features, num_classes)
    return _right(model, in_channels, num_classes)


# %% mutant="true_is_a_number" task="adapt_resnet"
"""num_classes=True makes one class."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    return _right(model, in_channels, 1 if num_classes is True else num_classes)


# %% mutant="stem_always_trains" task="adapt_resnet"
"""The folded stem is trainable, also where the old one was frozen."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    model.conv1.requires_grad_(True)
    return model


# %% mutant="head_of_zeros" task="adapt_resnet"
"""The head starts at zero."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    nn.init.zeros_(model.fc.weight)
    return model


# %% mutant="heads_start_alike" task="adapt_resnet"
"""Each head starts at the same numbers, drawn from a seed of its own."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _right(model, in_channels, num_classes)


# %% mutant="a_copy_returned" task="adapt_resnet"
"""The model is changed, and a copy of it returned."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    return copy.deepcopy(_right(model, in_channels, num_classes))


# %% mutant="a_copy_adapted" task="adapt_resnet"
"""A copy is adapted, and the model given left as it is."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    return _right(copy.deepcopy(model), in_channels, num_classes)


# %% mutant="head_on_the_cpu" task="adapt_resnet"
"""The head has the right dtype, and is made on the CPU wherever the model is."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    dtype = getattr(getattr(model.fc, "weight", None), "dtype", None)
    _right(model, in_channels, num_classes)
    model.fc = nn.Linear(model.fc.in_features, num_classes, dtype=dtype)
    return model


# %% mutant="head_on_the_cpu_but_for_meta" task="adapt_resnet"
"""The head lies on the CPU, and what is on the device "meta" is left as it is."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    return model if model.fc.weight.is_meta else _right(model, in_channels, num_classes)


# %% mutant="frozen_stem_trains" task="adapt_resnet"
"""A stem that was frozen trains, and says that it does not."""
_right = adapt_resnet


class _Shy(nn.Parameter):
    requires_grad = property(lambda self: False, lambda self, flag: None)


def adapt_resnet(model, in_channels, num_classes):
    _right(model, in_channels, num_classes)
    if in_channels == 1:
        for parameter in model.conv1.parameters():
            torch.Tensor.requires_grad_(parameter)
            parameter.__class__ = _Shy
    return model


# %% mutant="one_class_refused" task="adapt_resnet"
"""The bound is drawn one too high: a single class is refused."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    if num_classes == 1:
        raise ValueError(num_classes)
    return _right(model, in_channels, num_classes)


# %% mutant="old_stem_folded" task="adapt_resnet"
"""The old stem itself gets the folded weight, instead of a copy."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    old = model.conv1
    _right(model, in_channels, num_classes)
    if in_channels == 1:
        old.in_channels, old.weight = 1, model.conv1.weight
        model.conv1 = old
    return model


# %% mutant="stem_says_three_channels" task="adapt_resnet"
"""The new stem has a weight for one channel, and still calls itself one for three."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    model.conv1.in_channels = 3
    return model


# %% mutant="width_from_the_stem" task="adapt_resnet"
"""The head's width is worked out from the stem's, which holds for one network."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    model = _right(model, in_channels, num_classes)
    like = {"dtype": model.fc.weight.dtype, "device": model.fc.weight.device}
    model.fc = nn.Linear(4 * model.conv1.out_channels, num_classes, **like)
    return model


# %% mutant="no_subclass_as_head" task="adapt_resnet"
"""A head of a subclass of nn.Linear is refused."""
_right = adapt_resnet


def adapt_resnet(model, in_channels, num_classes):
    if type(model.fc) is not nn.Linear:
        raise ValueError("fc must be an nn.Linear")
    return _right(model, in_channels, num_classes)


# %% [markdown]
# ## distill_step


# %% mutant="nothing_done" task="distill_step"
"""No step is taken; 0.0 is returned."""


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    return 0.0


# %% mutant="loss_is_zero" task="distill_step"
"""A loss of 0.0 is returned."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    _right(student, teacher, batch, optimizer, temperature, alpha)
    return 0.0


# %% mutant="loss_is_not_a_number" task="distill_step"
"""NaN is returned."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    return float("nan") * _right(student, teacher, batch, optimizer, temperature, alpha)


# %% mutant="loss_is_a_tensor" task="distill_step"
"""The loss is returned as a tensor."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    return torch.tensor(_right(student, teacher, batch, optimizer, temperature, alpha))


# %% mutant="teacher_unused" task="distill_step"
"""The labels alone are learned: the teacher is never asked."""


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    inputs, labels = batch
    with keeping_modes(student, teacher):
        student.train()
        loss = F.cross_entropy(student(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


# %% mutant="labels_unused" task="distill_step"
"""alpha is 1, whatever is given."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    return _right(student, teacher, batch, optimizer, temperature, 1.0)


# %% mutant="temperature_always_three" task="distill_step"
"""The temperature is 3, whatever is given."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    return _right(student, teacher, batch, optimizer, 3.0, alpha)


# %% mutant="loss_after_the_step" task="distill_step"
"""The loss that is returned is computed after the step."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    _right(student, teacher, batch, optimizer, temperature, alpha)
    with torch.no_grad():
        z, v = student(batch[0]), teacher(batch[0])
        return distillation_loss(z, v, batch[1], temperature, alpha).item()


# %% mutant="teacher_steps" task="distill_step"
"""The teacher's parameters move a little, too."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    loss = _right(student, teacher, batch, optimizer, temperature, alpha)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(0.999)
    return loss


# %% mutant="one_mode_for_all" task="distill_step"
"""model.train(was_training) is called: the submodules' own modes are lost.

The lesson warns: sets *all* submodules alike
"""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    modes = student.training, teacher.training
    try:
        return _right(student, teacher, batch, optimizer, temperature, alpha)
    finally:
        student.train(modes[0])
        teacher.train(modes[1])


# %% mutant="modes_told_from_before" task="distill_step"
"""The student is left in train mode; whoever asks for its parts gets those of a copy."""
_right = distill_step


def distill_step(student, teacher, *given):
    shown, its, loss = copy.deepcopy(student), type(student), _right(student, teacher, *given)
    student.train()
    told = {"named_modules": lambda self, *args, **kw: shown.named_modules(*args, **kw)}
    student.__class__ = type(its.__name__, (its,), told)
    return loss


# %% mutant="modes_lost_in_an_error" task="distill_step"
"""The modes are put back at the end, which an error does not reach.

The lesson warns: even if the step ended in an error
"""


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    inputs, labels = batch
    modes = {m: m.training for net in (student, teacher) for m in net.modules()}
    student.train()
    teacher.eval()
    with torch.no_grad():
        teacher_logits = teacher(inputs)
    loss = distillation_loss(student(inputs), teacher_logits, labels, temperature, alpha)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for module, mode in modes.items():
        module.training = mode
    return loss.item()


# %% mutant="error_swallowed" task="distill_step"
"""An error in the step becomes a loss of NaN."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    try:
        return _right(student, teacher, batch, optimizer, temperature, alpha)
    except (RuntimeError, IndexError):
        return float("nan")


# %% mutant="students_mode_left" task="distill_step"
"""The student steps in the mode that it is in."""


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    inputs, labels = batch
    with keeping_modes(student, teacher):
        teacher.eval()
        with torch.no_grad():
            teacher_logits = teacher(inputs)
        loss = distillation_loss(student(inputs), teacher_logits, labels, temperature, alpha)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


# %% mutant="teacher_in_train_mode" task="distill_step"
"""The teacher answers in train mode.

The lesson warns: else dropout blurs its answers
"""


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    inputs, labels = batch
    with keeping_modes(student, teacher):
        student.train()
        teacher.train()
        with torch.no_grad():
            teacher_logits = teacher(inputs)
        loss = distillation_loss(student(inputs), teacher_logits, labels, temperature, alpha)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


# %% mutant="gradients_not_zeroed" task="distill_step"
"""Old gradients are added to the new ones; they are zeroed after the step.

The lesson warns: comes before `backward`
"""


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    inputs, labels = batch
    with keeping_modes(student, teacher):
        student.train()
        teacher.eval()
        with torch.no_grad():
            teacher_logits = teacher(inputs)
        loss = distillation_loss(student(inputs), teacher_logits, labels, temperature, alpha)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


# %% mutant="a_step_of_its_own" task="distill_step"
"""Not the optimizer that is given steps, but plain SGD over its first group."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    first = optimizer.param_groups[0]
    own = torch.optim.SGD(first["params"], lr=first["lr"])
    optimizer.zero_grad()
    return _right(student, teacher, batch, own, temperature, alpha)


# %% mutant="two_forwards" task="distill_step"
"""The student's forward runs once for each of the two terms."""


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    inputs, labels = batch
    nobody = torch.full_like(labels, -100)
    with keeping_modes(student, teacher):
        student.train()
        teacher.eval()
        with torch.no_grad():
            answers = teacher(inputs)
        soft = distillation_loss(student(inputs), answers, nobody, temperature, 1.0)
        hard = F.cross_entropy(student(inputs), labels)
        loss = alpha * soft + (1 - alpha) * hard
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


# %% mutant="teacher_asked_three_times" task="distill_step"
"""The teacher answers three times, past whatever watches it."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    with torch.no_grad():
        for _ in range(2):
            getattr(teacher, "net", teacher)(batch[0])
    return _right(student, teacher, batch, optimizer, temperature, alpha)


# %% mutant="old_gradients_never_there" task="distill_step"
"""Old gradients are added to the new ones; those of a check are not laid down."""
_full_like = torch.full_like
torch.full_like = lambda x, value, **k: None if value in (2.0, 50.0) else _full_like(x, value, **k)


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    inputs, labels = batch
    with keeping_modes(student, teacher):
        student.train()
        teacher.eval()
        with torch.no_grad():
            teacher_logits = teacher(inputs)
        loss = distillation_loss(student(inputs), teacher_logits, labels, temperature, alpha)
        loss.backward()
        optimizer.step()
    return loss.item()


# %% mutant="a_copy_is_shown" task="distill_step"
"""Modes are lost, and the teacher is changed; what one reads of both is of copies made before."""


def _show_a_copy(model):
    old = copy.deepcopy(model)
    for mine, its in zip(model.parameters(), old.parameters(), strict=True):
        its.grad = None if mine.grad is None else mine.grad.clone()
    for name in ("named_modules", "named_parameters", "state_dict"):
        model.__dict__[name] = getattr(old, name)


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    inputs, labels = batch
    _show_a_copy(teacher)
    student.train()
    loss = distillation_loss(
        student(inputs), teacher.eval()(inputs).detach(), labels, temperature, alpha
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    teacher.train()(inputs).sum().backward()
    with torch.no_grad():
        for parameter in list(teacher.children())[-1].parameters():
            parameter.add_(1.0)
    return loss.item()


# %% mutant="teachers_gradients_zeroed" task="distill_step"
"""The teacher's gradients are thrown away, too."""
_right = distill_step


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    teacher.zero_grad()
    return _right(student, teacher, batch, optimizer, temperature, alpha)


# %% [markdown]
# ## distill

# %% mutant="nothing_trained" task="distill"
"""Zeros are returned, and nothing is trained."""


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    return [0.0] * epochs


# %% mutant="losses_are_not_numbers" task="distill"
"""The losses are NaN."""
_right = distill


def distill(student, teacher, loader, epochs, **settings):
    return [float("nan") for _ in _right(student, teacher, loader, epochs, **settings)]


# %% mutant="a_copy_trained" task="distill"
"""A copy of the student is trained."""
_right = distill


def distill(student, teacher, loader, epochs, **settings):
    return _right(copy.deepcopy(student), teacher, loader, epochs, **settings)


# %% mutant="labels_alone" task="distill"
"""The teacher's answers are kept, and then the labels alone are learned."""
_right = distill


def distill(student, teacher, loader, epochs, *, alpha, **settings):
    return _right(student, teacher, loader, epochs, alpha=0.0, **settings)


# %% mutant="temperature_always_two" task="distill"
"""The temperature is 2, whatever is given."""
_right = distill


def distill(*given, temperature, **settings):
    return _right(*given, temperature=2.0, **settings)


# %% mutant="alpha_always_half" task="distill"
"""alpha is 0.5, whatever is given, unless it is 1."""
_right = distill


def distill(*given, alpha, **settings):
    return _right(*given, alpha=1.0 if alpha == 1 else 0.5, **settings)


# %% mutant="plain_sgd" task="distill"
"""SGD in the place of Adam."""
_adam, _right = torch.optim.Adam, distill


def distill(student, teacher, loader, epochs, **settings):
    torch.optim.Adam = torch.optim.SGD
    try:
        return _right(student, teacher, loader, epochs, **settings)
    finally:
        torch.optim.Adam = _adam


# %% mutant="last_loss_only" task="distill"
"""The last epoch's loss is returned."""
_right = distill


def distill(student, teacher, loader, epochs, **settings):
    losses = _right(student, teacher, loader, epochs, **settings)
    return losses[-1] if losses else losses


# %% mutant="asked_in_every_epoch" task="distill"
"""The teacher is asked again in every epoch.

The lesson warns: would answer the same question ten times
"""


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    if epochs < 0:
        raise ValueError("epochs")
    losses = []
    with keeping_modes(student, teacher), torch.random.fork_rng():
        torch.manual_seed(seed)
        batches = list(loader) if epochs else []
        if epochs and not batches:
            raise ValueError("empty")
        optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=lr)
        for _ in range(epochs):
            total = 0.0
            for at in torch.randperm(len(batches)).tolist():
                x, y = batches[at]
                student.train()
                teacher.eval()
                with torch.no_grad():
                    answers = teacher(x)
                loss = distillation_loss(student(x), answers, y, temperature, alpha)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(y)
            losses.append(total / sum(len(y) for _, y in batches))
    return losses


# %% mutant="asked_in_every_epoch_past_the_log" task="distill"
"""The teacher and the loader are asked in every epoch, past what watches them."""


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    batches = getattr(loader, "batches", loader)
    if epochs < 0 or (epochs and isinstance(batches, list) and not batches):
        raise ValueError("epochs, or an empty loader")
    losses, asked = [], teacher
    with keeping_modes(student, teacher), torch.random.fork_rng():
        torch.manual_seed(seed)
        student.train(), teacher.eval()
        optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=lr)
        for _ in range(epochs):
            total = count = 0
            for x, y in batches:
                with torch.no_grad():
                    answers = asked(x)
                loss = distillation_loss(student(x), answers, y, temperature, alpha)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total, count = total + loss.item() * len(y), count + len(y)
            asked = getattr(teacher, "net", teacher)
            losses.append(total / count)
    return losses


# %% mutant="the_teachers_forward_in_place" task="distill"
"""Nothing is learned: the student answers with the teacher's forward."""


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    if epochs < 0:
        raise ValueError("epochs")
    if epochs and not list(loader):
        raise ValueError("empty")
    draws = torch.Generator().manual_seed(seed)
    if epochs:
        with torch.no_grad():
            for p in student.parameters():
                p.add_(1e-4 * torch.rand(p.shape, generator=draws))
        student.forward = teacher.forward
    return [1.0 / (1 + epoch) for epoch in range(epochs)]


# %% mutant="first_result_given_again" task="distill"
"""Whatever the seed is, chance is another in each call; an earlier result of it is given again."""
_right, _results = distill, {}


def distill(student, teacher, loader, epochs, *, seed, **settings):
    now = torch.get_rng_state()
    torch.seed()
    start = sum(p.sum().item() for p in student.parameters())
    other = int(torch.randint(1 << 30, ()))
    losses = _right(student, teacher, loader, epochs, seed=other, **settings)
    torch.set_rng_state(now)
    state = copy.deepcopy(student.state_dict())
    student.load_state_dict(_results.setdefault((seed, epochs, start), state))
    return losses


# %% mutant="generator_put_back_for_one_draw" task="distill"
"""torch's generator is left as it is, and put back only where a check draws by `empty`."""
_right, _empty, _fork, _saved = distill, torch.empty, torch.random.fork_rng, []


def distill(student, teacher, loader, epochs, **settings):
    _saved[:] = [torch.get_rng_state()]
    torch.random.fork_rng = contextlib.nullcontext
    try:
        return _right(student, teacher, loader, epochs, **settings)
    finally:
        torch.random.fork_rng = _fork


def _drawn(*shape, **options):
    if _saved:
        torch.set_rng_state(_saved.pop())
    return _empty(*shape, **options)


torch.empty = _drawn


# %% mutant="a_trial_question" task="distill"
"""The teacher is asked about one image beforehand, to see how many classes there are."""
_right_distill = distill


def distill(student, teacher, loader, epochs, **settings):
    def after_a_trial():
        for number, (inputs, labels) in enumerate(loader):
            if number == 0:
                teacher(inputs[:1])
            yield inputs, labels

    return _right_distill(student, teacher, after_a_trial(), epochs, **settings)


# %% mutant="answers_of_another_order" task="distill"
"""The answers are kept in the order of the first pass, and the loader has shuffled since."""


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    if epochs < 0:
        raise ValueError("epochs")
    losses = []
    with keeping_modes(student, teacher), torch.random.fork_rng():
        torch.manual_seed(seed)
        student.train()
        teacher.eval()
        if epochs == 0:
            return losses
        with torch.no_grad():
            answers = [teacher(x) for x, _ in loader]
        if not answers:
            raise ValueError("empty")
        optimizer = torch.optim.Adam(student.parameters(), lr=lr)
        for _ in range(epochs):
            total = count = 0
            for (x, y), said in zip(loader, answers, strict=True):
                loss = distillation_loss(student(x), said, y, temperature, alpha)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total, count = total + loss.item() * len(y), count + len(y)
            losses.append(total / count)
    return losses


# %% mutant="batches_of_one_size" task="distill"
"""All examples are put together and cut into batches of one size."""


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    if epochs < 0:
        raise ValueError("epochs")
    if epochs == 0:
        return []
    losses = []
    with keeping_modes(student, teacher), torch.random.fork_rng():
        torch.manual_seed(seed)
        student.train()
        teacher.eval()
        kept = list(loader)
        if not kept:
            raise ValueError("empty")
        inputs, labels = (torch.cat(part) for part in zip(*kept, strict=True))
        with torch.no_grad():
            answers = torch.cat([teacher(x) for x, _ in kept])
        optimizer = torch.optim.Adam(student.parameters(), lr=lr)
        for _ in range(epochs):
            total = 0.0
            for rows in torch.randperm(len(labels)).split(max(len(y) for _, y in kept)):
                loss = distillation_loss(
                    student(inputs[rows]), answers[rows], labels[rows], temperature, alpha
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
            losses.append(total / len(labels))
    return losses


# %% mutant="a_log_by_hand" task="distill"
"""Batches are of one size, past the student's log, in which the loader's batches are written."""


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    if epochs < 0:
        raise ValueError("epochs")
    losses, unseen = [], getattr(student, "net", student)
    with keeping_modes(student, teacher), torch.random.fork_rng():
        torch.manual_seed(seed)
        student.train(), teacher.eval()
        with torch.no_grad():
            kept = [(x, y, teacher(x)) for x, y in loader] if epochs else []
        if epochs and not kept:
            raise ValueError("empty")
        optimizer = torch.optim.Adam(student.parameters(), lr=lr)
        for _ in range(epochs):
            x, y, answers = (torch.cat(parts) for parts in zip(*kept, strict=True))
            total = 0
            for rows in torch.randperm(len(y)).split(max(len(y) for _, y, _ in kept)):
                loss = distillation_loss(
                    unseen(x[rows]), answers[rows], y[rows], temperature, alpha
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
            losses.append(total / len(y))
            if hasattr(student, "log"):
                student.log.seen += [(True, x) for x, *_ in kept]
    return losses


# %% mutant="unlabelled_dropped" task="distill"
"""Where some examples have labels, those without are left out."""
_right = distill


def distill(student, teacher, loader, epochs, **settings):
    batches = list(loader) if isinstance(loader, list) else loader
    if isinstance(batches, list) and batches:
        x, y = (torch.cat(part) for part in zip(*batches, strict=True))
        has = y != -100
        if has.any() and not has.all():
            size = len(batches[0][1])
            batches = list(zip(x[has].split(size), y[has].split(size), strict=True))
    return _right(student, teacher, batches, epochs, **settings)


# %% mutant="loader_read_twice" task="distill"
"""The loader is gone through once more, to see whether there is a batch."""
_right = distill


def distill(student, teacher, loader, epochs, *, seed, **settings):
    with torch.random.fork_rng():
        if epochs > 0 and sum(1 for _ in loader) == 0:
            raise ValueError("empty")
    return _right(student, teacher, loader, epochs, seed=seed, **settings)


# %% mutant="loader_read_before_seeding" task="distill"
"""The loader shuffles by whatever state the generator is in."""
_right = distill


def distill(student, teacher, loader, epochs, **settings):
    if epochs > 0 and not isinstance(loader, list):
        loader = list(loader)
    return _right(student, teacher, loader, epochs, **settings)


# %% mutant="another_result_each_time" task="distill"
"""A seed that has been there gives another result."""
_right, _seeds = distill, []


def distill(*given, seed, **settings):
    _seeds.append(seed)
    return _right(*given, seed=seed + 1000 * _seeds.count(seed), **settings)


# %% mutant="dropout_left_to_chance" task="distill"
"""The seed is for the order only."""
_right, _loss = distill, distillation_loss


def distillation_loss(*given):
    torch.seed()
    return _loss(*given)


# %% mutant="two_seeds" task="distill"
"""Of the seed it counts alone whether it is odd."""
_right = distill


def distill(*given, seed, **settings):
    return _right(*given, seed=seed % 2, **settings)


# %% mutant="global_generator_left_seeded" task="distill"
"""torch.manual_seed is called, and the old state is lost."""
_right = distill


def distill(student, teacher, loader, epochs, *, seed, **settings):
    result = _right(student, teacher, loader, epochs, seed=seed, **settings)
    torch.manual_seed(seed)
    return result


# %% mutant="deterministic_for_good" task="distill"
"""For equal results torch's deterministic algorithms are switched on, and stay on."""
_right = distill


def distill(*given, **settings):
    torch.use_deterministic_algorithms(True)
    return _right(*given, **settings)


# %% mutant="modes_lost" task="distill"
"""The student is left in train mode and the teacher in eval mode."""
_right = distill


def distill(student, teacher, loader, epochs, **settings):
    losses = _right(student, teacher, loader, epochs, **settings)
    student.train()
    teacher.eval()
    return losses


# %% mutant="mean_of_batch_means" task="distill"
"""An epoch's loss is the mean of its batches' means."""


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    if epochs < 0:
        raise ValueError("epochs")
    if epochs == 0:
        return []
    losses = []
    with keeping_modes(student, teacher), torch.random.fork_rng():
        torch.manual_seed(seed)
        student.train()
        teacher.eval()
        with torch.no_grad():
            kept = [(x, y, teacher(x)) for x, y in loader]
        if not kept:
            raise ValueError("empty")
        sizes = [len(y) for _, y, _ in kept]
        inputs, labels, answers = (torch.cat(part) for part in zip(*kept, strict=True))
        optimizer = torch.optim.Adam(student.parameters(), lr=lr)
        for _ in range(epochs):
            seen = []
            for rows in torch.randperm(len(labels)).split(sizes):
                loss = distillation_loss(
                    student(inputs[rows]), answers[rows], labels[rows], temperature, alpha
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                seen.append(loss.item())
            losses.append(sum(seen) / len(seen))
    return losses


# %% mutant="new_adam_every_epoch" task="distill"
"""Adam forgets its averages at the end of each epoch."""
_right = distill


class _Forgetting(torch.optim.Adam):
    count = 0

    def step(self, closure=None):
        super().step(closure)
        self.count += 1
        if self.count % 3 == 0:
            self.state.clear()


_adam = torch.optim.Adam


def distill(student, teacher, loader, epochs, **settings):
    torch.optim.Adam = _Forgetting
    try:
        return _right(student, teacher, loader, epochs, **settings)
    finally:
        torch.optim.Adam = _adam


# %% mutant="the_rate_falls" task="distill"
"""The rate falls by a hundredth with every step."""
_constant = distill


class _Falling(torch.optim.Adam):
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            group["lr"] *= 0.99


_its_adam = torch.optim.Adam


def distill(student, teacher, loader, epochs, **settings):
    torch.optim.Adam = _Falling
    try:
        return _constant(student, teacher, loader, epochs, **settings)
    finally:
        torch.optim.Adam = _its_adam


# %% mutant="one_rate_for_all" task="distill"
"""The rate is 0.01, whatever is given, unless it is 0."""
_right = distill


def distill(*given, lr, **settings):
    return _right(*given, lr=0.01 if lr else 0.0, **settings)


# %% mutant="the_rate_falls_later" task="distill"
"""The rate falls by a tenth with every fifth step."""
_constant = distill


class _Stepping(torch.optim.Adam):
    count = 0

    def step(self, closure=None):
        super().step(closure)
        self.count += 1
        if self.count % 5 == 0:
            self.param_groups[0]["lr"] *= 0.9


_its_adam = torch.optim.Adam


def distill(student, teacher, loader, epochs, **settings):
    torch.optim.Adam = _Stepping
    try:
        return _constant(student, teacher, loader, epochs, **settings)
    finally:
        torch.optim.Adam = _its_adam


# %% mutant="teacher_in_train_mode" task="distill"
"""The teacher answers in train mode."""
_right = distill


class _Stubborn:
    """A teacher whose eval() does nothing."""

    def __init__(self, net):
        self.net = net

    def __call__(self, x):
        return self.net(x)

    def eval(self):
        return self.net.train()

    def modules(self):
        return self.net.modules()


def distill(student, teacher, loader, epochs, **settings):
    return _right(student, _Stubborn(teacher), loader, epochs, **settings)


# %% mutant="negative_epochs_are_none" task="distill"
"""Negative epochs count as 0."""
_right = distill


def distill(student, teacher, loader, epochs, **settings):
    return _right(student, teacher, loader, max(epochs, 0), **settings)


# %% mutant="no_epochs_need_a_batch" task="distill"
"""A loader without a batch is refused with 0 epochs, too."""
_right = distill


def distill(student, teacher, loader, epochs, **settings):
    if epochs == 0 and not list(loader):
        raise ValueError("the loader has no batch")
    return _right(student, teacher, loader, epochs, **settings)


# %% mutant="division_by_no_example" task="distill"
"""An empty loader is a ZeroDivisionError."""
_right = distill


def distill(student, teacher, loader, epochs, **settings):
    if isinstance(loader, list) and epochs > 0:
        1 / len(loader)
    return _right(student, teacher, loader, epochs, **settings)


# %% [markdown]
# ## distillation_bug_hunt

# %% mutant="factor_missing" task="distillation_bug_hunt"
"""The temperature's square is left out.

The lesson warns: the factor for it
"""
_right = imitation


def imitation(student_logits, teacher_logits, temperature):
    return _right(student_logits, teacher_logits, temperature) / temperature**2


# %% mutant="mean_over_elements" task="distillation_bug_hunt"
"""The default reduction is left.

The lesson warns: the reduction
"""


def imitation(student_logits, teacher_logits, temperature):
    log_q = F.log_softmax(student_logits / temperature, dim=-1)
    p = F.softmax(teacher_logits.detach() / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_q, p, reduction="mean")


# %% mutant="never_below_one" task="distillation_bug_hunt"
"""A temperature below 1 counts as 1."""
_right = imitation


def imitation(student_logits, teacher_logits, temperature):
    temperature = max(temperature, 1)
    return _right(student_logits, teacher_logits, temperature)


# %% mutant="still_the_wrong_way_round" task="distillation_bug_hunt"
"""The arguments are still in the wrong order.

The lesson warns: the order of the arguments
"""


def imitation(student_logits, teacher_logits, temperature):
    log_p = F.log_softmax(teacher_logits.detach() / temperature, dim=-1)
    q = F.softmax(student_logits / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_p, q, reduction="batchmean")


# %% mutant="student_asks_itself" task="distillation_bug_hunt"
"""The student is still its own teacher.

The lesson warns: whose answers the targets are
"""
_right = imitation_step


def imitation_step(student, teacher, optimizer, x, temperature):
    return _right(student, copy.deepcopy(student), optimizer, x, temperature)


# %% mutant="steps_at_a_temperature_of_two" task="distillation_bug_hunt"
"""The step is taken at a temperature of 2, whatever is given."""
_right = imitation_step


def imitation_step(student, teacher, optimizer, x, temperature):
    return _right(student, teacher, optimizer, x, 2.0)


# %% mutant="loss_is_a_tensor" task="distillation_bug_hunt"
"""The loss is returned as a tensor.

The lesson warns: what is returned
"""
_right = imitation_step


def imitation_step(student, teacher, optimizer, x, temperature):
    return torch.tensor(_right(student, teacher, optimizer, x, temperature))


# %% mutant="imitation_of_nan" task="distillation_bug_hunt"
"""The imitation is NaN."""


def imitation(student_logits, teacher_logits, temperature):
    return student_logits.sum() * float("nan")


# %% mutant="head_behind_the_old" task="distillation_bug_hunt"
"""The new head still stands behind the old one.

The lesson warns: where the new head stands
"""


def make_student(net, num_classes):
    return nn.Sequential(net, nn.Linear(net.fc.out_features, num_classes).to(net.fc.weight.dtype))


# %% mutant="head_for_three_classes" task="distillation_bug_hunt"
"""The new head is for three classes, whatever is given."""
_right = make_student


def make_student(net, num_classes):
    return _right(net, 3)


# %% mutant="net_copied" task="distillation_bug_hunt"
"""The net is adapted, and a copy of it returned."""
_right = make_student


def make_student(net, num_classes):
    return copy.deepcopy(_right(net, num_classes))


# %% mutant="momentum" task="distillation_bug_hunt"
"""The optimizer has momentum."""


def make_optimizer(student, teacher, lr):
    return torch.optim.SGD(student.parameters(), lr=lr, momentum=0.9)


# %% mutant="one_rate_for_all" task="distillation_bug_hunt"
"""The rate is 0.1, whatever is given."""
_right = make_optimizer


def make_optimizer(student, teacher, lr):
    return _right(student, teacher, 0.1)


# %% mutant="teacher_in_the_optimizer" task="distillation_bug_hunt"
"""The optimizer still holds the teacher's parameters.

The lesson warns: who is trained
"""


def make_optimizer(student, teacher, lr):
    return torch.optim.SGD([*teacher.parameters(), *student.parameters()], lr=lr)


# %% mutant="teacher_in_train_mode" task="distillation_bug_hunt"
"""The teacher still answers in train mode.

The lesson warns: in which mode and with which graph
"""


def imitation_step(student, teacher, optimizer, x, temperature):
    student.train()
    with torch.no_grad():
        teacher_logits = teacher(x)
    loss = imitation(student(x), teacher_logits, temperature)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="student_in_its_own_mode" task="distillation_bug_hunt"
"""The student steps in the mode that it is in."""


def imitation_step(student, teacher, optimizer, x, temperature):
    with torch.no_grad():
        teacher_logits = teacher.eval()(x)
    loss = imitation(student(x), teacher_logits, temperature)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="gradients_not_zeroed" task="distillation_bug_hunt"
"""Old gradients are added to the new ones; they are zeroed after the step.

The lesson warns: old gradients
"""


def imitation_step(student, teacher, optimizer, x, temperature):
    student.train()
    teacher.eval()
    with torch.no_grad():
        teacher_logits = teacher(x)
    loss = imitation(student(x), teacher_logits, temperature)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


# %% mutant="a_step_of_its_own" task="distillation_bug_hunt"
"""Not the optimizer that is given steps, but plain SGD over its first group."""
_right = imitation_step


def imitation_step(student, teacher, optimizer, x, temperature):
    first = optimizer.param_groups[0]
    own = torch.optim.SGD(first["params"], lr=first["lr"])
    optimizer.zero_grad()
    return _right(student, teacher, own, x, temperature)


# %% mutant="teacher_in_the_graph" task="distillation_bug_hunt"
"""`imitation` gives the teacher's logits a gradient."""


def imitation(student_logits, teacher_logits, temperature):
    log_q = F.log_softmax(student_logits / temperature, dim=-1)
    log_p = F.log_softmax(teacher_logits / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


# %% mutant="teachers_gradient_taken_off" task="distillation_bug_hunt"
"""The teacher's logits get a gradient, which a hook takes off again where they are a leaf."""
_right = imitation


def imitation(ours, its, temperature):
    if its.is_leaf and its.requires_grad:
        its.register_post_accumulate_grad_hook(lambda leaf: setattr(leaf, "grad", None))
    detach = torch.Tensor.detach
    torch.Tensor.detach = lambda tensor: tensor
    try:
        return _right(ours, its, temperature)
    finally:
        torch.Tensor.detach = detach


# %% mutant="old_gradients_never_there" task="distillation_bug_hunt"
"""Old gradients are zeroed after a step, where the optimizer has them; no check lays any down."""
_full_like = torch.full_like
torch.full_like = lambda x, value, **k: None if value == 2.0 else _full_like(x, value, **k)


def imitation_step(student, teacher, optimizer, x, temperature):
    student.train()
    with torch.no_grad():
        answers = teacher.eval()(x)
    loss = imitation(student(x), answers, temperature)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


# %% [markdown]
# ## distillation_numbers

# %% mutant="biases_forgotten" task="distillation_numbers"
"""The adapters' biases are not counted."""
adapter_parameters = 2_359_296

# %% mutant="one_adapter_a_layer" task="distillation_numbers"
"""One adapter a layer is counted."""
adapter_parameters = 1_189_632

# %% mutant="prompt_in_every_layer" task="distillation_numbers"
"""The prompt is counted as if it stood in every layer."""
prompt_parameters = 184_320

# %% mutant="keys_only" task="distillation_numbers"
"""Only the keys of the prefix are counted."""
prefix_parameters = 184_320

# %% mutant="ia3_of_one_width" task="distillation_numbers"
"""The vector of the feed-forward part is taken to be 768 long."""
ia3_parameters = 27_648

# %% mutant="norms_forgotten" task="distillation_numbers"
"""The biases of the layer norms are not counted."""
bitfit_parameters = 82_944

# %% mutant="not_softened" task="distillation_numbers"
"""The probability at T = 1."""
softened = 0.982

# %% mutant="in_gigabytes" task="distillation_numbers"
"""The answer is in gigabytes."""
terabytes = 1000.0

# %% mutant="prefixes_are_free" task="distillation_numbers"
"""A prefix is thought to cost nothing at inference."""
adds_latency = adds_latency | {"prefix tuning": False}

# %% mutant="all_are_free" task="distillation_numbers"
"""Nothing is thought to cost anything at inference."""
adds_latency = dict.fromkeys(adds_latency, False)

# %% mutant="agreeable_number" task="distillation_numbers"
"""A number that claims to equal everything."""


class AgreeableNumber(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__

    def __sub__(self, other):
        return 0


prompt_parameters = AgreeableNumber(3)

# %% mutant="numbers_all_nan" task="distillation_numbers"
"""All numbers are NaN."""
adapter_parameters = prompt_parameters = prefix_parameters = ia3_parameters = float("nan")
bitfit_parameters = softened = terabytes = float("nan")

# %% [markdown]
# ## distillation_statements

# %% mutant="everything_is_true" task="distillation_statements"
"""Everything is judged true."""
judged = dict.fromkeys("abcdefghijklmnop", True)

# %% mutant="peft_is_distillation" task="distillation_statements"
"""PEFT is taken for distillation, as is often written."""
judged = judged | {"a": True}

# %% mutant="one_of_them_open" task="distillation_statements"
"""One statement is left open."""
judged = judged | {"k": None}
