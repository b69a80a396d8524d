# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402, F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Wrong answers to the troubleshooting lesson, each named after its mistake. A cell is run after all
# of the reference's cells, so that a mutant says only what differs; it must lose points on its own
# task.

# %% [markdown]
# ## overfit_one_batch

# %% mutant="zeros" task="overfit_one_batch"
"""All losses are zero: learned by heart, it claims."""


def overfit_one_batch(model, batch, steps, lr):
    if steps < 0:
        raise ValueError(steps)
    return [0.0] * steps


# %% mutant="not_a_number" task="overfit_one_batch"
"""All losses are NaN."""


def overfit_one_batch(model, batch, steps, lr):
    if steps < 0:
        raise ValueError(steps)
    return [float("nan")] * steps


# %% mutant="never_steps" task="overfit_one_batch"
"""The same loss over and over: no step is taken."""


def overfit_one_batch(model, batch, steps, lr):
    if steps < 0:
        raise ValueError(steps)
    x, labels = batch
    loss = F.cross_entropy(copy.deepcopy(model).eval()(x), labels).item()
    return [loss] * steps


# %% mutant="tensors" task="overfit_one_batch"
"""The losses are tensors, with their graphs, and not floats."""
_right = overfit_one_batch


def overfit_one_batch(model, batch, steps, lr):
    return [torch.tensor(loss) for loss in _right(model, batch, steps, lr)]


# %% mutant="adam" task="overfit_one_batch"
"""Adam instead of plain SGD."""


def overfit_one_batch(model, batch, steps, lr):
    if steps < 0:
        raise ValueError(steps)
    x, labels = batch
    trial = copy.deepcopy(model).eval()
    optimizer = torch.optim.Adam([p for p in trial.parameters() if p.requires_grad], lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(trial(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


# %% mutant="losses_after_the_step" task="overfit_one_batch"
"""The losses are those after each step."""
_right = overfit_one_batch


def overfit_one_batch(model, batch, steps, lr):
    return _right(model, batch, steps + 1 if steps >= 0 else steps, lr)[1:]


# %% mutant="dropout_acts" task="overfit_one_batch"
"""Only batch-norm is put into eval mode: dropout goes on.

The lesson warns: with regularisation off
"""


def overfit_one_batch(model, batch, steps, lr):
    if steps < 0:
        raise ValueError(steps)
    x, labels = batch
    trial = copy.deepcopy(model)
    for module in trial.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(trial(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


# %% mutant="only_dropout_is_off" task="overfit_one_batch"
"""Only dropout is put into eval mode: batch-norm uses the batch."""


def overfit_one_batch(model, batch, steps, lr):
    if steps < 0:
        raise ValueError(steps)
    x, labels = batch
    trial = copy.deepcopy(model).train()
    for module in trial.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(trial(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


# %% mutant="the_model_itself" task="overfit_one_batch"
"""There is no copy: the model itself learns the batch by heart.

The lesson warns: It is done on a copy
"""


def overfit_one_batch(model, batch, steps, lr):
    if steps < 0:
        raise ValueError(steps)
    x, labels = batch
    model.eval()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


# %% mutant="shuffles_the_batch" task="overfit_one_batch"
"""The batch is put into another order, in place: the loss is the same, the data are not."""
_right = overfit_one_batch


def overfit_one_batch(model, batch, steps, lr):
    for tensor in batch:
        tensor[:] = tensor.flip(0)
    return _right(model, batch, steps, lr)


# %% mutant="everything_thaws" task="overfit_one_batch"
"""All parameters of the copy are trained, the frozen ones, too."""
_right = overfit_one_batch


def overfit_one_batch(model, batch, steps, lr):
    return _right(copy.deepcopy(model).requires_grad_(True), batch, steps, lr)


# %% mutant="negative_steps_are_none" task="overfit_one_batch"
"""A negative number of steps gives an empty list."""
_right = overfit_one_batch


def overfit_one_batch(model, batch, steps, lr):
    return _right(model, batch, max(steps, 0), lr)


# %% mutant="weights_told_from_before" task="overfit_one_batch"
"""The model itself moves; whoever asks for its parts gets those of a copy made before."""
_right = overfit_one_batch


def overfit_one_batch(model, *given):
    shown, its = copy.deepcopy(model), type(model)
    told = {
        name: lambda self, *given, _name=name, **kw: getattr(shown, _name)(*given, **kw)
        for name in ("state_dict", "named_parameters", "named_modules")
    }
    for copied, parameter in zip(shown.parameters(), model.parameters(), strict=True):
        copied.grad = None if parameter.grad is None else parameter.grad.clone()
    losses = _right(model, *given)
    for parameter in list(model.parameters()):
        parameter.data += 1
    model.__class__ = type(its.__name__, (its,), told)
    return losses


# %% mutant="layers_in_a_row" task="overfit_one_batch"
"""The model is taken for a Sequential."""
_right = overfit_one_batch


def overfit_one_batch(model, batch, steps, lr):
    return _right(nn.Sequential(*model), batch, steps, lr)


# %% [markdown]
# ## diagnose

# %% mutant="never_anything" task="diagnose"
"""No run has a finding."""


def diagnose(history, num_classes):
    return set()


# %% mutant="a_list" task="diagnose"
"""The findings come as a list."""
_right = diagnose


def diagnose(history, num_classes):
    return sorted(_right(history, num_classes))


# %% mutant="only_the_first_finding" task="diagnose"
"""It stops at the first finding."""
_right = diagnose


def diagnose(history, num_classes):
    return set(sorted(_right(history, num_classes))[:1])


# %% mutant="lengths_of_all_keys" task="diagnose"
"""A list under a key that no finding reads has to have the others' length, too."""
_right = diagnose


def diagnose(history, num_classes):
    if len(set(map(len, history.values()))) > 1:
        raise ValueError("lengths")
    return _right(history, num_classes)


# %% mutant="nan_only" task="diagnose"
"""An infinite loss is not found; infinities take part in the other rules."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    values = [v for key in ("train_loss", "eval_loss") for v in history.get(key, [])]
    if not any(map(math.isnan, values)):
        found.discard("not_finite")
    return found


# %% mutant="nan_ends_it_all" task="diagnose"
"""Where a loss is NaN nothing else is looked at."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    return {"not_finite"} if "not_finite" in found else found


# %% mutant="floor_of_ten_classes" task="diagnose"
"""The floor of two softmaxes is always that of ten classes."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    found.discard("probabilities_as_logits")
    loss, accuracy = history.get("train_loss"), history.get("train_accuracy")
    if loss and accuracy and accuracy[-1] > 0.9 and loss[-1] > 1.46:
        found.add("probabilities_as_logits")
    return found


# %% mutant="floor_at_any_accuracy" task="diagnose"
"""A loss above the floor is a finding whatever the accuracy."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    loss, accuracy = history.get("train_loss"), history.get("train_accuracy")
    if loss and accuracy and loss[-1] > math.log(1 + (num_classes - 1) / math.e):
        found.add("probabilities_as_logits")
    return found


# %% mutant="overfitting_by_one_curve" task="diagnose"
"""Validation loss alone decides: training loss may rise as well."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    train, test = history.get("train_loss"), history.get("eval_loss")
    if train and test and all(map(math.isfinite, train + test)) and test[-1] > 1.1 * min(test):
        found.add("overfitting")
    return found


# %% mutant="last_of_two_minima" task="diagnose"
"""Of two smallest validation losses the last is taken."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    train, test = history.get("train_loss"), history.get("eval_loss")
    if train and test and all(map(math.isfinite, train + test)):
        found.discard("overfitting")
        best = len(test) - 1 - test[::-1].index(min(test))
        if test[-1] > 1.1 * test[best] and train[-1] < train[best]:
            found.add("overfitting")
    return found


# %% mutant="gap_without_sign" task="diagnose"
"""A gap counts in either direction."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    train, test = history.get("train_accuracy"), history.get("eval_accuracy")
    if train and test and abs(train[-1] - test[-1]) > 0.1:
        found.add("generalisation_gap")
    return found


# %% mutant="gap_as_a_share" task="diagnose"
"""A gap is a tenth of the training accuracy, not a difference of 0.1."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    train, test = history.get("train_accuracy"), history.get("eval_accuracy")
    if train and test and train[-1] - test[-1] > 0.1 * train[-1]:
        found.add("generalisation_gap")
    return found


# %% mutant="divides_by_the_best" task="diagnose"
"""Overfitting is told by a quotient, which a best loss of 0 does not have."""
_right = diagnose


def diagnose(history, num_classes):
    found, losses = _right(history, num_classes), history.get("eval_loss")
    if losses and min(losses) == 0:
        found.discard("overfitting")
    return found


# %% mutant="chance_is_ten_per_cent" task="diagnose"
"""Chance in eval mode is 15 %, whatever the number of classes."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    train, test = history.get("train_accuracy"), history.get("eval_accuracy")
    if train and test:
        found.discard("eval_mode_broken")
        if train[-1] > 0.9 and test[-1] < 0.15:
            found.add("eval_mode_broken")
    return found


# %% mutant="good_at_any_time" task="diagnose"
"""A good accuracy at the end is suspicious, too."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    if max(history.get("eval_accuracy", []), default=0) > 0.99:
        found.add("suspiciously_good")
    return found


# %% mutant="forgetting_from_the_first" task="diagnose"
"""Forgetting is told from the first entry, not from the best."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    old = history.get("old_accuracy")
    if old:
        found.discard("forgetting")
        if old[0] - old[-1] > 0.05:
            found.add("forgetting")
    return found


# %% mutant="forgetting_as_a_share" task="diagnose"
"""Forgetting is a twentieth of the best, not a difference of 0.05."""
_right = diagnose


def diagnose(history, num_classes):
    found, old = _right(history, num_classes), history.get("old_accuracy")
    if old and max(old) - old[-1] > 0.05 * max(old):
        found.add("forgetting")
    return found


# %% mutant="forgetting_in_between" task="diagnose"
"""A dip that was made good again is forgetting."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    old = history.get("old_accuracy")
    if old and max(old) - min(old) > 0.05:
        found.add("forgetting")
    return found


# %% mutant="flat_at_the_end" task="diagnose"
"""Flat is judged by the last entry alone."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    loss, chance = history.get("train_loss"), math.log(num_classes)
    if loss and abs(loss[-1] - chance) < 0.05 * chance:
        found.add("flat_at_chance")
    return found


# %% mutant="diverging_from_the_best" task="diagnose"
"""Diverging is told from the smallest entry, not from the first."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    loss = history.get("train_loss")
    if loss and all(map(math.isfinite, loss)):
        found.discard("diverging")
        if loss[-1] > max(1.2 * loss[0], 2.6 * min(loss)):
            found.add("diverging")
    return found


# %% mutant="flat_by_an_absolute_margin" task="diagnose"
"""Flat means within 0.1 of ln(classes)."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    loss, chance = history.get("train_loss"), math.log(num_classes)
    if loss:
        found.discard("flat_at_chance")
        if all(abs(value - chance) < 0.1 for value in loss):
            found.add("flat_at_chance")
    return found


# %% mutant="empty_lists_fail" task="diagnose"
"""An empty list is an IndexError."""
_right = diagnose


def diagnose(history, num_classes):
    for values in history.values():
        values[-1]
    return _right(history, num_classes)


# %% mutant="missing_is_zero" task="diagnose"
"""A missing accuracy counts as 0."""
_right = diagnose


def diagnose(history, num_classes):
    known = history.get("train_accuracy", [])
    if len(known) == 1:
        history = {"eval_accuracy": [0.0], **history}
    return _right(history, num_classes)


# %% mutant="fills_the_history" task="diagnose"
"""Lists that are missing are put into the caller's history, empty."""
_right = diagnose


def diagnose(history, num_classes):
    found = _right(history, num_classes)
    for key in ("train_loss", "eval_loss", "train_accuracy", "eval_accuracy", "old_accuracy"):
        history.setdefault(key, [])
    return found


# %% mutant="one_class_will_do" task="diagnose"
"""One class is accepted."""
_right = diagnose


def diagnose(history, num_classes):
    return _right(history, max(num_classes, 2))


# %% mutant="bounds_of_accuracies_included" task="diagnose"
"""An accuracy that is just at its bound counts as above it."""
_right = diagnose


def diagnose(history, num_classes):
    above = {0.9: 0.9001, 0.99: 0.9901}
    history = {key: [above.get(value, value) for value in history[key]] for key in history}
    return _right(history, num_classes)


# %% mutant="only_some_lengths_compared" task="diagnose"
"""Lists of another length than train_loss are passed over, but for eval_accuracy."""
_right = diagnose


def diagnose(history, num_classes):
    epochs = len(history.get("train_loss", ()))
    kept = ("train_loss", "eval_accuracy")
    uneven = [k for k, v in history.items() if epochs and len(v) != epochs and k not in kept]
    return _right({k: v for k, v in history.items() if k not in uneven}, num_classes)


# %% mutant="uneven_lists_will_do" task="diagnose"
"""Lists of different lengths are accepted."""
_right = diagnose


def diagnose(history, num_classes):
    try:
        return _right(history, num_classes)
    except ValueError:
        if num_classes < 2:
            raise
        return set()


# %% mutant="looked_up" task="diagnose"
"""The findings of histories that were seen once, from a table; none for any other."""
_right = diagnose
TABLE = {
    str(history): _right(history, 10)
    for history in (
        {"train_loss": [2.31, 2.3, 2.29]},
        {"train_loss": [1.0, 0.5, 1.25]},
        {"train_loss": [1.0, 0.8, 0.6], "eval_loss": [1.0, 0.5, 0.58]},
    )
}


def diagnose(history, num_classes):
    return set(TABLE.get(str(history), ()))


# %% [markdown]
# ## early_stopping

# %% mutant="never_stops" task="early_stopping"
"""It never says True."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        super().step(value, model)
        return False


# %% mutant="one_value_late" task="early_stopping"
"""It waits for one value more than its patience."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        super().step(value, model)
        return self.waited > self.patience


# %% mutant="keeps_a_reference" task="early_stopping"
"""state_dict() without a copy: what is kept trains on.

The lesson warns: keep a reference where they need a copy
"""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        stop = super().step(value, model)
        if self.waited == 0:
            self.state = model.state_dict()
        return stop


# %% mutant="a_shallow_copy" task="early_stopping"
"""The dict is copied, and the tensors in it are the model's."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        stop = super().step(value, model)
        if self.waited == 0:
            self.state = copy.copy(model.state_dict())
        return stop


# %% mutant="the_last_weights" task="early_stopping"
"""It keeps the weights of the last call, not of the best.

The lesson warns: forget the second half
"""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        stop = super().step(value, model)
        if self.state is not None:
            self.state = copy.deepcopy(model.state_dict())
        return stop


# %% mutant="always_smaller" task="early_stopping"
"""The mode is ignored: smaller is better."""


class EarlyStopping(EarlyStopping):
    def __init__(self, patience, min_delta=0.0, mode="min"):
        super().__init__(patience, min_delta, mode)
        self.mode = "min"


# %% mutant="restored_by_reference" task="early_stopping"
"""restore puts the kept tensors themselves into the model, where they train on."""


class EarlyStopping(EarlyStopping):
    def restore(self, model):
        super().restore(model)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            tensor.data = self.state[name]


# %% mutant="parameters_only" task="early_stopping"
"""Buffers are neither kept nor restored."""


class EarlyStopping(EarlyStopping):
    def restore(self, model):
        if self.state is None:
            raise RuntimeError("nothing to restore")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.state[name])


# %% mutant="kept_in_eval_mode" task="early_stopping"
"""step puts the model into eval mode before it keeps a copy."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        return super().step(value, model.eval())


# %% mutant="new_parameters" task="early_stopping"
"""restore makes new Parameters, of which no optimizer knows."""


class EarlyStopping(EarlyStopping):
    def restore(self, model):
        if self.state is None:
            raise RuntimeError("nothing to restore")
        model.load_state_dict(copy.deepcopy(self.state), assign=True)


# %% mutant="nan_as_the_first" task="early_stopping"
"""The first value is the best whatever it is: after a NaN nothing is better."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        if self.best is None:
            self.best, self.state = value, copy.deepcopy(model.state_dict())
            return False
        return super().step(value, model)


# %% mutant="nan_is_a_gain" task="early_stopping"
"""“Not worse” instead of “better”: NaN is a gain."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        if math.isnan(value):
            self.waited = 0
            return False
        return super().step(value, model)


# %% mutant="equal_is_a_gain" task="early_stopping"
"""A gain of exactly min_delta counts."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        sign = 1 if self.mode == "min" else -1
        exact = self.best is not None and sign * value == sign * self.best - self.min_delta
        return super().step(value - sign * 1e-9 if exact and self.min_delta else value, model)


# %% mutant="min_delta_is_a_share" task="early_stopping"
"""A gain has to be better by a share of the best value."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        given = self.min_delta
        if self.best is not None:
            self.min_delta = given * abs(self.best)
        try:
            return super().step(value, model)
        finally:
            self.min_delta = given


# %% mutant="zero_is_no_best" task="early_stopping"
"""`if not self.best`: behind a best value of 0 any value is the first."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        self.best = self.best or None
        return super().step(value, model)


# %% mutant="small_gains_move_the_bar" task="early_stopping"
"""A value that is better by less than min_delta becomes the one to beat."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        stop = super().step(value, model)
        pick = min if self.mode == "min" else max
        if self.best is not None:
            self.best = pick(self.best, value)
        return stop


# %% mutant="never_counts_anew" task="early_stopping"
"""Values without a gain are counted in all, not in a row."""


class EarlyStopping(EarlyStopping):
    total = 0

    def step(self, value, model):
        before = self.waited
        super().step(value, model)
        self.total += self.waited > before
        return self.total >= self.patience and self.waited > 0


# %% mutant="true_only_once" task="early_stopping"
"""It says True at exactly the patience-th value, and False behind it."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        super().step(value, model)
        return self.waited == self.patience


# %% mutant="any_patience" task="early_stopping"
"""A patience of 2.0 is accepted."""


class EarlyStopping(EarlyStopping):
    def __init__(self, patience, min_delta=0.0, mode="min"):
        super().__init__(int(patience), min_delta, mode)


# %% mutant="restores_nothing_silently" task="early_stopping"
"""restore before any gain does nothing."""


class EarlyStopping(EarlyStopping):
    def restore(self, model):
        if self.state is not None:
            super().restore(model)


# %% mutant="modes_told_from_before" task="early_stopping"
"""step leaves other modes; whoever asks for the model's parts gets those of a copy."""
_right = EarlyStopping.step


def _step(self, value, model):
    shown, its = copy.deepcopy(model), type(model)
    told = {
        name: lambda self, *given, _name=name, **kw: getattr(shown, _name)(*given, **kw)
        for name in ("state_dict", "named_parameters", "named_modules")
    }
    for copied, parameter in zip(shown.parameters(), model.parameters(), strict=True):
        copied.grad = None if parameter.grad is None else parameter.grad.clone()
    stop = _right(self, value, model)
    for module in model.children():
        module.training = not module.training
    if stop:
        model.__class__ = type(its.__name__, (its,), told)
    return stop


EarlyStopping.step = _step


# %% mutant="new_parameters_in_place" task="early_stopping"
"""restore puts new Parameters in; the state_dict tells of the old ones."""
_right = EarlyStopping.restore


def _restore(self, model):
    _right(self, model)
    its, old = type(model), dict(model.named_parameters())
    if its is nn.Linear:
        for name, parameter in old.items():
            model._parameters[name] = nn.Parameter(parameter.detach().clone())
        told = {"named_parameters": lambda self, *given, **kw: old.items()}
        told["state_dict"] = lambda self: {n: p.detach() for n, p in old.items()}
        model.__class__ = type("Linear", (its,), told)


EarlyStopping.restore = _restore


# %% mutant="patience_of_two_at_most" task="early_stopping"
"""It stops at two values without a gain, whatever larger patience was asked for."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        self.patience = min(self.patience, 2)
        return super().step(value, model)


# %% mutant="always_the_same_min_delta" task="early_stopping"
"""Any min_delta above 0 is a quarter."""


class EarlyStopping(EarlyStopping):
    def __init__(self, patience, min_delta=0.0, mode="min"):
        super().__init__(patience, min_delta, mode)
        self.min_delta = 0.25 if min_delta else 0.0


# %% mutant="infinite_is_no_gain" task="early_stopping"
"""The best value begins as infinite: a first value that is so is no gain."""


class EarlyStopping(EarlyStopping):
    def __init__(self, patience, min_delta=0.0, mode="min"):
        super().__init__(patience, min_delta, mode)
        self.best = math.inf if mode == "min" else -math.inf


# %% mutant="tensors_in_the_state_alone" task="early_stopping"
"""The state is cloned entry by entry: one that is no tensor is an error."""


class EarlyStopping(EarlyStopping):
    def step(self, value, model):
        stop = super().step(value, model)
        if self.waited == 0:
            self.state = {name: tensor.clone() for name, tensor in self.state.items()}
        return stop


# %% [markdown]
# ## lr_range_test

# %% mutant="zeros" task="lr_range_test"
"""All losses are zero."""
_right = lr_range_test


def lr_range_test(model, loader, low, high, steps):
    came = _right(model, loader, low, high, steps)
    return came | {"loss": [0.0] * len(came["loss"])}


# %% mutant="linear" task="lr_range_test"
"""The rates are evenly spaced, not their logarithms.

The lesson warns: ours geometrically, since rates matter by their ratio
"""
_right = lr_range_test


def lr_range_test(model, loader, low, high, steps):
    came = _right(model, loader, low, high, steps)
    rates = [low + (high - low) * i / (steps - 1) for i in range(len(came["lr"]))]
    return came | {"lr": rates}


# %% mutant="high_is_not_reached" task="lr_range_test"
"""One division too many: the last rate is below high.

The lesson warns: there are steps − 1 ratios between them
"""
_right = lr_range_test


def lr_range_test(model, loader, low, high, steps):
    return _right(model, loader, low, low * (high / low) ** ((steps - 1) / steps), steps)


# %% mutant="nothing_learns" task="lr_range_test"
"""Losses of the untouched model: no step is taken."""
_right = lr_range_test


def lr_range_test(model, loader, low, high, steps):
    came = _right(copy.deepcopy(model), loader, 1e-12, 1.1e-12, steps)
    return came | {"lr": [low * (high / low) ** (i / (steps - 1)) for i in range(len(came["lr"]))]}


# %% mutant="cycle_remembers" task="lr_range_test"
"""itertools.cycle repeats the first pass, and never asks the loader again."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    import itertools

    batches = itertools.cycle(loader)
    first = next(batches, None)
    if first is None:
        raise ValueError("the loader has no batch")
    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), itertools.chain([first], batches), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="one_pass_only" task="lr_range_test"
"""It ends with the loader, however many steps are left.

The lesson warns: do at the fourth step?
"""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if not empty:
                return
            else:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="stops_by_the_first_loss" task="lr_range_test"
"""It ends at 4 times the first loss, not the smallest."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * losses[0]:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="the_last_is_not_noted" task="lr_range_test"
"""The loss that ends the test is not noted."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            if math.isfinite(losses[-1]):
                del rates[-1], losses[-1]
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="stops_at_any_rise" task="lr_range_test"
"""It ends at the first loss above twice the smallest."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 2 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="nan_goes_on" task="lr_range_test"
"""Only the factor ends it: after a NaN it goes on."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="model_is_ruined" task="lr_range_test"
"""Buffers and modes are put back, the weights are not.

The lesson warns: A few steps at a large rate ruin a model
"""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.zero_grad()
    trial = model.train()
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for module, mode in modes.items():
        module.training = mode
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    return {"lr": rates, "loss": losses}


# %% mutant="buffers_drift" task="lr_range_test"
"""The weights, gradients and modes are put back, batch-norm statistics are not.

The lesson warns: weights, *batch-norm buffers* and modes are those of before
"""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    for module, copied in zip(model.modules(), trial.modules(), strict=True):
        for name in module._buffers:
            copied._buffers[name] = module._buffers[name]
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="left_in_train_mode" task="lr_range_test"
"""Weights and buffers are put back, the mode is not.

The lesson warns: so the test must leave no trace
"""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    model.train()
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="left_as_one_mode" task="lr_range_test"
"""All submodules get the model's own mode afterwards."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.train(model.training)
    return {"lr": rates, "loss": losses}


# %% mutant="in_the_mode_it_came_in" task="lr_range_test"
"""A model in eval mode is tested in eval mode."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model)  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="old_gradients_count" task="lr_range_test"
"""Gradients are cleared after each step, not before the first."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    for parameter, copied in zip(model.parameters(), trial.parameters(), strict=True):
        copied.grad = None if parameter.grad is None else parameter.grad.clone()
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"lr": rates, "loss": losses}


# %% mutant="everything_thaws" task="lr_range_test"
"""Frozen parameters are trained, too."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = (
        copy.deepcopy(model).requires_grad_(True).train()
    )  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="momentum" task="lr_range_test"
"""SGD with momentum."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD(
        [p for p in trial.parameters() if p.requires_grad], lr=low, momentum=0.9
    )
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="one_step_will_do" task="lr_range_test"
"""One step is accepted."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps == 1:
        return {"lr": [low], "loss": [0.0]}
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="any_range" task="lr_range_test"
"""A range that falls, or has no length, is accepted."""


def lr_range_test(model, loader, low, high, steps):
    if low <= 0:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="told_from_before" task="lr_range_test"
"""Weights, .grad, buffers and modes are others; whoever asks gets those of a copy made before."""
_right = lr_range_test


def lr_range_test(model, *given):
    shown, its = copy.deepcopy(model), type(model)
    told = {
        name: lambda self, *given, _name=name, **kw: getattr(shown, _name)(*given, **kw)
        for name in ("state_dict", "named_parameters", "named_modules")
    }
    for copied, parameter in zip(shown.parameters(), model.parameters(), strict=True):
        copied.grad = None if parameter.grad is None else parameter.grad.clone()
    found = _right(model, *given)
    for module in list(model.children()):
        module.training = not module.training
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            tensor.data.add_(1)
    model.__class__ = type(its.__name__, (its,), told)
    return found


# %% mutant="gradients_are_cleared" task="lr_range_test"
"""The gradients that the model had are gone."""
_right = lr_range_test


def lr_range_test(model, *given):
    found = _right(model, *given)
    model.zero_grad()
    return found


# %% mutant="buffers_told_from_before" task="lr_range_test"
"""The statistics are others; whoever asks for the state gets that of before."""
_right = lr_range_test


def lr_range_test(model, *given):
    shown, its = copy.deepcopy(model), type(model)
    found = _right(model, *given)
    for buffer in model.buffers():
        buffer.add_(1)
    told = {"state_dict": lambda self, *args, **kw: shown.state_dict(*args, **kw)}
    model.__class__ = type(its.__name__, (its,), told)
    return found


# %% mutant="modes_told_from_before" task="lr_range_test"
"""The modes are others; whoever asks a part for its own is told what it was."""
_right = lr_range_test


class _Told:
    def __init__(self, part):
        self.part, self.training = part, part.training

    def __getattr__(self, name):
        return getattr(self.part, name)


def lr_range_test(model, *given):
    parts, its = [(name, _Told(part)) for name, part in model.named_modules()], type(model)
    found = _right(model, *given)
    model.eval()
    told = {"named_modules": lambda self, *args, **kw: iter(parts)}
    model.__class__ = type(its.__name__, (its,), told)
    return found


# %% mutant="a_little_decay" task="lr_range_test"
"""SGD with a weight decay of 1e-5."""


def lr_range_test(model, loader, low, high, steps):
    if not 0 < low < high or steps < 2:
        raise ValueError("no range")

    def endless():
        while batches := list(loader):
            yield from batches
        raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()
    learns = [p for p in trial.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learns, lr=low, weight_decay=1e-5)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}


# %% mutant="best_of_the_last_eight" task="lr_range_test"
"""A loss is compared with the smallest of the last eight."""
_right, _min = lr_range_test, min


def lr_range_test(model, loader, low, high, steps):
    globals()["min"] = lambda losses: _min(losses[-8:])
    try:
        return _right(model, loader, low, high, steps)
    finally:
        globals()["min"] = _min


# %% [markdown]
# ## broken_training_steps


# %% mutant="as_it_was" task="broken_training_steps"
"""Nothing is mended."""


train_step, class_loss, joint_step = broken_train_step, broken_class_loss, broken_joint_step


# %% mutant="no_zero_grad" task="broken_training_steps"
"""Gradients are never zeroed in train_step.

The lesson warns: `optimizer.zero_grad()` belongs before `backward()`
"""


def train_step(model, optimizer, x, labels):
    loss = F.cross_entropy(model(x), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="zero_grad_too_late" task="broken_training_steps"
"""Gradients are zeroed after the step: those from before count once."""


def train_step(model, optimizer, x, labels):
    loss = F.cross_entropy(model(x), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


# %% mutant="zeroed_before_the_step" task="broken_training_steps"
"""Gradients are zeroed between backward and step: nothing moves."""


def train_step(model, optimizer, x, labels):
    loss = F.cross_entropy(model(x), labels)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


# %% mutant="loss_after_the_step" task="broken_training_steps"
"""The loss returned is the one after the step."""


def train_step(model, optimizer, x, labels):
    loss = F.cross_entropy(model(x), labels)
    optimizer.zero_grad()  # backward() adds to the gradients that are there
    loss.backward()
    optimizer.step()
    return F.cross_entropy(model(x), labels).item()


# %% mutant="softmax_twice" task="broken_training_steps"
"""The softmax before the cross-entropy stays.

The lesson warns: `F.cross_entropy` takes logits
"""


def class_loss(model, x, labels):
    return F.cross_entropy(model(x).softmax(dim=-1), labels)


# %% mutant="zero_loss" task="broken_training_steps"
"""class_loss is zero."""


def class_loss(model, x, labels):
    return 0 * F.cross_entropy(model(x), labels)


# %% mutant="sum_of_losses" task="broken_training_steps"
"""class_loss is the sum over the examples."""


def class_loss(model, x, labels):
    return F.cross_entropy(model(x), labels, reduction="sum")


# %% mutant="log_of_softmax" task="broken_training_steps"
"""The logarithm of a softmax: large logits make it infinite."""


def class_loss(model, x, labels):
    return F.nll_loss(model(x).softmax(dim=-1).log(), labels)


# %% mutant="loss_without_graph" task="broken_training_steps"
"""class_loss gives the number, cut off from the model."""


def class_loss(model, x, labels):
    return F.cross_entropy(model(x), labels).detach().requires_grad_()


# %% mutant="still_detached" task="broken_training_steps"
"""The features are still detached.

The lesson warns: ends the graph: nothing before it learns
"""


def joint_step(body, head, optimizer, x, labels):
    loss = F.cross_entropy(head(body(x).detach()), labels)  # nothing is detached on the way
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="features_without_graph" task="broken_training_steps"
"""The features are computed under no_grad."""


def joint_step(body, head, optimizer, x, labels):
    with torch.no_grad():
        features = body(x)
    loss = F.cross_entropy(head(features), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="only_the_body_is_zeroed" task="broken_training_steps"
"""In joint_step the head's old gradients count."""


def joint_step(body, head, optimizer, x, labels):
    loss = F.cross_entropy(head(body(x)), labels)  # nothing is detached on the way
    body.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="joint_step_returns_a_tensor" task="broken_training_steps"
"""joint_step returns a tensor."""


def joint_step(body, head, optimizer, x, labels):
    loss = F.cross_entropy(head(body(x)), labels)  # nothing is detached on the way
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


# %% mutant="a_step_of_its_own" task="broken_training_steps"
"""train_step takes a step of plain SGD on the optimizer's first group, at that one's rate."""


def train_step(model, optimizer, x, labels):
    loss = F.cross_entropy(model(x), labels)
    optimizer.zero_grad()
    loss.backward()
    group = optimizer.param_groups[0]
    torch.optim.SGD(group["params"], lr=group["lr"]).step()
    return loss.item()


# %% mutant="a_joint_step_of_its_own" task="broken_training_steps"
"""joint_step takes a step of plain SGD on the optimizer's first group, at that one's rate."""


def joint_step(body, head, optimizer, x, labels):
    loss = F.cross_entropy(head(body(x)), labels)
    optimizer.zero_grad()
    loss.backward()
    group = optimizer.param_groups[0]
    torch.optim.SGD(group["params"], lr=group["lr"]).step()
    return loss.item()


# %% [markdown]
# ## broken_evaluation_steps


# %% mutant="as_it_was" task="broken_evaluation_steps"
"""Nothing is mended."""


validate, probe_step = broken_validate, broken_probe_step
next_token_loss = broken_next_token_loss


# %% mutant="no_grad_is_not_eval" task="broken_evaluation_steps"
"""no_grad() instead of eval(): dropout and batch-norm are in train mode.

The lesson warns: None does the work of another
"""


def validate(model, loader):
    modes = {module: module.training for module in model.modules()}
    correct = seen = 0
    with torch.no_grad():  # saves memory; it does not turn dropout off
        for x, labels in loader:
            correct += (model(x).argmax(dim=-1) == labels).sum().item()
            seen += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return correct / seen


# %% mutant="dropout_off_only" task="broken_evaluation_steps"
"""Dropout is switched off in validate, batch-norm uses the batch."""


def validate(model, loader):
    modes = {module: module.training for module in model.modules()}
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    correct = seen = 0
    with torch.no_grad():  # saves memory; it does not turn dropout off
        for x, labels in loader:
            correct += (model(x).argmax(dim=-1) == labels).sum().item()
            seen += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return correct / seen


# %% mutant="validation_statistics_put_back" task="broken_evaluation_steps"
"""In validate batch-norm uses the batch; its buffers are put back."""


def validate(model, loader):
    modes = {module: module.training for module in model.modules()}
    state = copy.deepcopy(model.state_dict())
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    correct = seen = 0
    with torch.no_grad():  # saves memory; it does not turn dropout off
        for x, labels in loader:
            correct += (model(x).argmax(dim=-1) == labels).sum().item()
            seen += len(labels)
    model.load_state_dict(state)
    for module, mode in modes.items():
        module.training = mode
    return correct / seen


# %% mutant="left_in_train_mode" task="broken_evaluation_steps"
"""After validate the whole model is in train mode."""


def validate(model, loader):
    model.eval()
    correct = seen = 0
    with torch.no_grad():  # saves memory; it does not turn dropout off
        for x, labels in loader:
            correct += (model(x).argmax(dim=-1) == labels).sum().item()
            seen += len(labels)
    model.train()
    return correct / seen


# %% mutant="left_in_eval_mode" task="broken_evaluation_steps"
"""After validate the whole model is in eval mode."""


def validate(model, loader):
    model.eval()
    correct = seen = 0
    with torch.no_grad():  # saves memory; it does not turn dropout off
        for x, labels in loader:
            correct += (model(x).argmax(dim=-1) == labels).sum().item()
            seen += len(labels)
    return correct / seen


# %% mutant="one_mode_for_all" task="broken_evaluation_steps"
"""After validate all submodules have the model's own mode."""


def validate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    correct = seen = 0
    with torch.no_grad():  # saves memory; it does not turn dropout off
        for x, labels in loader:
            correct += (model(x).argmax(dim=-1) == labels).sum().item()
            seen += len(labels)
    model.train(modes[model])
    return correct / seen


# %% mutant="validation_moves_statistics" task="broken_evaluation_steps"
"""A pass in train mode after that in eval mode: batch-norm sees the validation data."""


def validate(model, loader):
    modes = {module: module.training for module in model.modules()}
    state = copy.deepcopy(model.state_dict())
    correct = seen = 0
    with torch.no_grad():
        for x, labels in loader:
            model.load_state_dict(state)
            model.eval()
            correct += (model(x).argmax(dim=-1) == labels).sum().item()
            seen += len(labels)
            model.train()
            model(x)
    for module, mode in modes.items():
        module.training = mode
    return correct / seen


# %% mutant="mean_of_batches" task="broken_evaluation_steps"
"""The accuracy is the mean over batches of different sizes."""


def validate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    correct = seen = 0
    with torch.no_grad():  # saves memory; it does not turn dropout off
        for x, labels in loader:
            correct += (model(x).argmax(dim=-1) == labels).double().mean().item()
            seen += 1
    for module, mode in modes.items():
        module.training = mode
    return correct / seen


# %% mutant="right_answers_counted" task="broken_evaluation_steps"
"""validate returns the number of right answers."""


def validate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    correct = seen = 0
    with torch.no_grad():  # saves memory; it does not turn dropout off
        for x, labels in loader:
            correct += (model(x).argmax(dim=-1) == labels).sum().item()
            seen += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return float(correct)


# %% mutant="statistics_adapted" task="broken_evaluation_steps"
"""The body's statistics are adapted to the new data after the step."""


def probe_step(body, head, optimizer, x, labels):
    modes = {module: module.training for module in body.modules()}
    body.eval()  # else a batch-norm uses the batch's statistics and moves its own
    with torch.no_grad():
        features = body(x)
    for module, mode in modes.items():
        module.training = mode
    loss = F.cross_entropy(head(features), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    body.train()
    with torch.no_grad():
        body(x)
    for module, mode in modes.items():
        module.training = mode
    return loss.item()


# %% mutant="still_drifting" task="broken_evaluation_steps"
"""The body is frozen by requires_grad and in train mode.

The lesson warns: `requires_grad` and train mode are two different switches
"""


def probe_step(body, head, optimizer, x, labels):
    modes = {module: module.training for module in body.modules()}
    body.train()
    with torch.no_grad():
        features = body(x)
    for module, mode in modes.items():
        module.training = mode
    loss = F.cross_entropy(head(features), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="buffers_put_back" task="broken_evaluation_steps"
"""The body answers with the batch's statistics; its buffers are put back."""


def probe_step(body, head, optimizer, x, labels):
    modes = {module: module.training for module in body.modules()}
    body.train()
    kept = copy.deepcopy(body.state_dict())
    with torch.no_grad():
        features = body(x)
    body.load_state_dict(kept)
    for module, mode in modes.items():
        module.training = mode
    loss = F.cross_entropy(head(features), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="head_in_eval_mode" task="broken_evaluation_steps"
"""probe_step puts the head into eval mode, too, and restores its modes."""
_right = probe_step


def probe_step(body, head, optimizer, x, labels):
    modes = {module: module.training for module in head.modules()}
    loss = _right(body, head.eval(), optimizer, x, labels)
    for module, mode in modes.items():
        module.training = mode
    return loss


# %% mutant="head_keeps_old_gradients" task="broken_evaluation_steps"
"""In probe_step gradients left over on the head are added to the new ones."""


def probe_step(body, head, optimizer, x, labels):
    modes = {module: module.training for module in body.modules()}
    body.eval()
    with torch.no_grad():
        features = body(x)
    for module, mode in modes.items():
        module.training = mode
    loss = F.cross_entropy(head(features), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="body_left_in_eval_mode" task="broken_evaluation_steps"
"""After probe_step the whole body is in eval mode."""


def probe_step(body, head, optimizer, x, labels):
    body.eval()  # else a batch-norm uses the batch's statistics and moves its own
    with torch.no_grad():
        features = body(x)
    loss = F.cross_entropy(head(features), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="head_does_not_learn" task="broken_evaluation_steps"
"""In probe_step no step is taken."""


def probe_step(body, head, optimizer, x, labels):
    modes = {module: module.training for module in body.modules()}
    body.eval()  # else a batch-norm uses the batch's statistics and moves its own
    with torch.no_grad():
        features = body(x)
    for module, mode in modes.items():
        module.training = mode
    loss = F.cross_entropy(head(features), labels)
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


# %% mutant="labels_not_shifted" task="broken_evaluation_steps"
"""The logits at t are compared with the token at t: a model learns to copy."""


def next_token_loss(model, input_ids, labels):
    logits = model(input_ids)  # (B, T, V)
    # Shifted once: (B, T − 1, V) against (B, T − 1).
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


# %% mutant="shifted_the_other_way" task="broken_evaluation_steps"
"""The logits at t are compared with the token at t − 1."""


def next_token_loss(model, input_ids, labels):
    logits = model(input_ids)  # (B, T, V)
    # Shifted once: (B, T − 1, V) against (B, T − 1).
    return F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten())


# %% mutant="shifted_twice" task="broken_evaluation_steps"
"""The labels are still shifted twice.

The lesson warns: one place shifts them, and only one
"""


def next_token_loss(model, input_ids, labels):
    logits = model(input_ids)  # (B, T, V)
    # Shifted once: (B, T − 1, V) against (B, T − 1).
    return F.cross_entropy(logits[:, :-2].flatten(0, 1), labels[:, 2:].flatten())


# %% mutant="rolled_round" task="broken_evaluation_steps"
"""The labels are rolled: the last logits are compared with the first token."""


def next_token_loss(model, input_ids, labels):
    logits = model(input_ids)  # (B, T, V)
    # Shifted once: (B, T − 1, V) against (B, T − 1).
    return F.cross_entropy(logits.flatten(0, 1), labels.roll(-1, dims=1).flatten())


# %% mutant="next_token_loss_without_graph" task="broken_evaluation_steps"
"""The loss of the next tokens is right, and cut from the model."""


def next_token_loss(model, input_ids, labels):
    logits = model(input_ids).detach().requires_grad_()  # (B, T, V)
    # Shifted once: (B, T − 1, V) against (B, T − 1).
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


# %% mutant="masked_labels_count" task="broken_evaluation_steps"
"""Labels of -100 count as token 0."""


def next_token_loss(model, input_ids, labels):
    logits = model(input_ids)  # (B, T, V)
    # Shifted once: (B, T − 1, V) against (B, T − 1).
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].clamp(min=0).flatten())


# %% mutant="masks_the_first_label" task="broken_evaluation_steps"
"""The first label, which nothing predicts, is masked in the caller's own tensor."""
_right = next_token_loss


def next_token_loss(model, input_ids, labels):
    loss = _right(model, input_ids, labels)
    labels[:, 0] = -100
    return loss


# %% mutant="mean_over_rows" task="broken_evaluation_steps"
"""The mean is over rows of their means."""


def next_token_loss(model, input_ids, labels):
    logits = model(input_ids)  # (B, T, V)
    # Shifted once: (B, T − 1, V) against (B, T − 1).
    rows = [F.cross_entropy(a[:-1], b[1:]) for a, b in zip(logits, labels, strict=True)]
    return torch.stack(rows).nanmean()


# %% mutant="body_told_from_before" task="broken_evaluation_steps"
"""The frozen body drifts and changes modes; whoever asks gets the parts of a copy made before."""
_right = probe_step


def probe_step(model, *given):
    shown, its = copy.deepcopy(model), type(model)
    told = {
        name: lambda self, *given, _name=name, **kw: getattr(shown, _name)(*given, **kw)
        for name in ("state_dict", "named_parameters", "named_modules")
    }
    for copied, parameter in zip(shown.parameters(), model.parameters(), strict=True):
        copied.grad = None if parameter.grad is None else parameter.grad.clone()
    loss = _right(model, *given)
    for module in list(model.children()):
        module.training = not module.training
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            tensor.data.add_(1)
    model.__class__ = type(its.__name__, (its,), told)
    return loss


# %% mutant="validation_told_from_before" task="broken_evaluation_steps"
"""validate changes buffers and modes; whoever asks gets the parts of a copy made before."""
_right = validate


def validate(model, *given):
    shown, its = copy.deepcopy(model), type(model)
    told = {
        name: lambda self, *given, _name=name, **kw: getattr(shown, _name)(*given, **kw)
        for name in ("state_dict", "named_parameters", "named_modules")
    }
    for copied, parameter in zip(shown.parameters(), model.parameters(), strict=True):
        copied.grad = None if parameter.grad is None else parameter.grad.clone()
    share = _right(model, *given)
    for module in list(model.children()):
        module.training = not module.training
    model.__class__ = type(its.__name__, (its,), told)
    return share


# %% mutant="by_index" task="broken_evaluation_steps"
"""validate asks for loader[i]: a loader that can only be iterated is an error."""
_right = validate


def validate(model, loader):
    return _right(model, [loader[i] for i in range(len(loader))])


# %% mutant="a_probe_step_of_its_own" task="broken_evaluation_steps"
"""probe_step takes a step of plain SGD on the optimizer's first group, at that one's rate."""
_right = probe_step


def probe_step(body, head, optimizer, x, labels):
    group = optimizer.param_groups[0]
    return _right(body, head, torch.optim.SGD(group["params"], lr=group["lr"]), x, labels)


# %% [markdown]
# ## first_nan_module


# %% mutant="never_a_name" task="first_nan_module"
"""The answer is always None."""


def first_nan_module(model, batch):
    return None


# %% mutant="the_model_s_first_child" task="first_nan_module"
"""The answer is the name of the first child."""


def first_nan_module(model, batch):
    return next(name for name, _ in model.named_children())


# %% mutant="blocks_before_layers" task="first_nan_module"
"""Blocks are asked before the layers inside them.

The lesson warns: A block finishes after the layers inside it
"""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model)  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    order = [name for name, _ in trial.named_modules() if name in found]
    named = [name for name in order if name]
    return min(named, key=lambda n: n.count(".")) if named else order[0] if order else None


# %% mutant="order_of_registration" task="first_nan_module"
"""The first in the order of registration."""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model)  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    order = [name for name, _ in trial.named_modules()]
    leaves = [n for n in found if not any(o.startswith(f"{n}.") for o in order if n) and n]
    return min(leaves or found, key=order.index) if found else None


# %% mutant="last_module" task="first_nan_module"
"""The last module that is not finite."""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model)  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    return found[-1] if found else None


# %% mutant="nan_only" task="first_nan_module"
"""Infinite values do not count.

The lesson warns: An infinity counts, too
"""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or not bool(output.isnan().any())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not x.isfinite().all():
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model)  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    return found[0] if found else None


# %% mutant="anomaly_mode_left_on" task="first_nan_module"
"""torch's anomaly mode is switched on for the search, and stays on."""
_right = first_nan_module


def first_nan_module(model, batch):
    torch.autograd.set_detect_anomaly(True)
    return _right(model, batch)


# %% mutant="never_the_model_itself" task="first_nan_module"
"""The model itself is never to blame."""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model)  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    return found[0] if found and found[0] else None


# %% mutant="tensors_only" task="first_nan_module"
"""Outputs that are no tensors are passed over."""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        return True
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model)  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    return found[0] if found else None


# %% mutant="one_level_only" task="first_nan_module"
"""Nested outputs are looked into for one level."""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return (
                all(is_finite(o) for o in output if torch.is_tensor(o))
                if hasattr(output, "__iter__")
                else True
            )
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model)  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    return found[0] if found else None


# %% mutant="the_model_itself_runs" task="first_nan_module"
"""No copy: batch-norm statistics move, hooks are removed."""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial, handles = model, []
    for name, module in trial.named_modules():
        handles.append(module.register_forward_hook(hook_for(name)))
    with torch.no_grad():
        trial(x)
    for handle in handles:
        handle.remove()
    return found[0] if found else None


# %% mutant="hooks_stay" task="first_nan_module"
"""Buffers are put back, and the hooks stay on the model."""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial, state = model, copy.deepcopy(model.state_dict())
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    model.load_state_dict(state)
    return found[0] if found else None


# %% mutant="gradients_are_cleared" task="first_nan_module"
"""Gradients that lie on the model are thrown away."""
_right = first_nan_module


def first_nan_module(model, batch):
    model.zero_grad()
    return _right(model, batch)


# %% mutant="bad_batch_is_accepted" task="first_nan_module"
"""A bad batch is put down to the first module."""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model)  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    return found[0] if found else None


# %% mutant="in_eval_mode" task="first_nan_module"
"""The forward is in eval mode."""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model).eval()  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    return found[0] if found else None


# %% mutant="in_train_mode" task="first_nan_module"
"""The forward is in train mode."""


def first_nan_module(model, batch):
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model).train()  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    return found[0] if found else None


# %% mutant="tried_out_before" task="first_nan_module"
"""The model runs once before it is looked at."""
_right = first_nan_module


def first_nan_module(model, batch):
    with torch.no_grad():
        copy.deepcopy(model)(batch[0])
    return _right(model, batch)


# %% mutant="traces_told_from_before" task="first_nan_module"
"""The search leaves its traces; whoever asks for the model's parts gets those of a copy."""
_right = first_nan_module


def first_nan_module(model, batch):
    shown, its = copy.deepcopy(model), type(model)
    told = {
        name: lambda self, *given, _name=name, **kw: getattr(shown, _name)(*given, **kw)
        for name in ("state_dict", "named_parameters", "named_modules")
    }
    for copied, parameter in zip(shown.parameters(), model.parameters(), strict=True):
        copied.grad = None if parameter.grad is None else parameter.grad.clone()
    name = _right(model, batch)
    for module in list(model.modules()):
        module.register_forward_hook(lambda *given: None)
        for parameter in module._parameters.values():
            parameter.grad = None
    model.__class__ = type(its.__name__, (its,), told)
    return name


# %% mutant="half_precision_passes" task="first_nan_module"
"""Only tensors of single and double precision are looked at."""
_right, _hook = first_nan_module, nn.Module.register_forward_hook


def first_nan_module(model, batch):
    def passes(self, hook):
        def kept(module, inputs, output):
            half = torch.is_tensor(output) and output.dtype in (torch.float16, torch.bfloat16)
            return None if half else hook(module, inputs, output)

        return _hook(self, kept)

    nn.Module.register_forward_hook = passes
    try:
        return _right(model, batch)
    finally:
        nn.Module.register_forward_hook = _hook


# %% [markdown]
# ## amp_step


# %% mutant="nothing_happens" task="amp_step"
"""No step is taken; loss and norm are right."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="always_in_bfloat16" task="amp_step"
"""The dtype asked for is not looked at."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="clipped_before_unscaling" task="amp_step"
"""Scaled gradients are clipped.

The lesson warns: before the division it compares `max_norm` with gradients that are 65,536
times too large
"""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="unscaled_after_the_step" task="amp_step"
"""The step uses scaled gradients."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="never_clipped" task="amp_step"
"""Gradients are measured and not clipped."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), float("inf"))
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="clipped_one_by_one" task="amp_step"
"""Each parameter is clipped by its own norm."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters()])
    for parameter in model.parameters():
        nn.utils.clip_grad_norm_([parameter], max_norm)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="clipped_by_value" task="amp_step"
"""Each element is clipped to max_norm."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters()])
    nn.utils.clip_grad_value_(model.parameters(), max_norm)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="always_at_max_norm" task="amp_step"
"""Small gradients are scaled up to max_norm."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    if norm < max_norm:
        for parameter in model.parameters():
            parameter.grad *= max_norm / norm
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="norm_after_clipping" task="amp_step"
"""The norm returned is that after clipping."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), min(norm.item(), max_norm) if norm.isfinite() else norm.item()


# %% mutant="error_at_an_overflow" task="amp_step"
"""A gradient that is not finite is an error."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm, error_if_nonfinite=True)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="scale_is_never_lowered" task="amp_step"
"""update() is not called."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    return loss.item(), norm.item()


# %% mutant="updated_before_the_step" task="amp_step"
"""update() comes before step()."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.update()
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    return loss.item(), norm.item()


# %% mutant="steps_past_the_scaler" task="amp_step"
"""optimizer.step() instead of the scaler's: an overflow ruins the model."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="full_precision" task="amp_step"
"""There is no autocast."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="scaled_loss" task="amp_step"
"""The loss returned is the scaled one."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return scaler.scale(loss).item(), norm.item()


# %% mutant="scales_twice" task="amp_step"
"""The loss is scaled a first time, of which nothing comes."""


class _ScalesTwice:
    def __init__(self, scaler):
        self.scaler = scaler

    def scale(self, loss):
        self.scaler.scale(loss)
        return self.scaler.scale(loss)

    def __getattr__(self, name):
        return getattr(self.scaler, name)


_right = amp_step


def amp_step(model, optimizer, scaler, *given, **settings):
    return _right(model, optimizer, _ScalesTwice(scaler), *given, **settings)


# %% mutant="asks_for_the_scale" task="amp_step"
"""The scaler is asked for its scale where it can tell it."""
_right = amp_step


def amp_step(model, optimizer, scaler, *given, **settings):
    if hasattr(scaler, "get_scale"):
        scaler.get_scale()
    return _right(model, optimizer, scaler, *given, **settings)


# %% mutant="old_gradients_count" task="amp_step"
"""Gradients are never zeroed."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()


# %% mutant="tensors" task="amp_step"
"""Loss and norm are tensors."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.detach(), norm


# %% mutant="overflow_told_from_before" task="amp_step"
"""An overflow ruins the model; whoever asks for its parts gets those of a copy made before."""
_right = amp_step


def amp_step(model, *given, **kw_given):
    shown, its = copy.deepcopy(model), type(model)
    told = {
        name: lambda self, *given, _name=name, **kw: getattr(shown, _name)(*given, **kw)
        for name in ("state_dict", "named_parameters", "named_modules")
    }
    for copied, parameter in zip(shown.parameters(), model.parameters(), strict=True):
        copied.grad = None if parameter.grad is None else parameter.grad.clone()
    loss, norm = _right(model, *given, **kw_given)
    if not norm < float("inf"):
        for parameter in list(model.parameters()):
            parameter.data.fill_(float("nan"))
        model.__class__ = type(its.__name__, (its,), told)
    return loss, norm


# %% mutant="never_updated" task="amp_step"
"""The scale is never updated; a scaler that lists its calls gets the right list."""
_right = amp_step


def amp_step(model, optimizer, scaler, *given, **kw):
    scaler.calls = ["scale", "unscale_", "step", "update"]
    scaler.update = lambda *new: None
    return _right(model, optimizer, scaler, *given, **kw)


# %% mutant="clips_the_first_group" task="amp_step"
"""The norm is that of the optimizer's first group, and it alone is clipped."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item(), norm.item()


# %% [markdown]
# ## forgetting


# %% mutant="nothing_forgotten" task="forgetting"
"""No task has lost anything."""


def forgetting(before, after):
    return dict.fromkeys(before, 0.0)


# %% mutant="after_minus_before" task="forgetting"
"""The sign is turned."""


def forgetting(before, after):
    if missing := before.keys() - after.keys():
        raise ValueError(f"not measured afterwards: {sorted(missing)}")
    return {task: float(after[task] - score) for task, score in before.items()}


# %% mutant="cut_off_at_zero" task="forgetting"
"""A gain counts as 0.

The lesson warns: No `abs`, no `max`
"""


def forgetting(before, after):
    if missing := before.keys() - after.keys():
        raise ValueError(f"not measured afterwards: {sorted(missing)}")
    return {task: max(0.0, score - after[task]) for task, score in before.items()}


# %% mutant="without_sign" task="forgetting"
"""Gains count as losses.

The lesson warns: No `abs`
"""


def forgetting(before, after):
    if missing := before.keys() - after.keys():
        raise ValueError(f"not measured afterwards: {sorted(missing)}")
    return {task: abs(score - after[task]) for task, score in before.items()}


# %% mutant="relative" task="forgetting"
"""The loss is relative to the score before."""


def forgetting(before, after):
    if missing := before.keys() - after.keys():
        raise ValueError(f"not measured afterwards: {sorted(missing)}")
    return {task: (score - after[task]) / score for task, score in before.items()}


# %% mutant="missing_counts_as_kept" task="forgetting"
"""A task that was not measured afterwards has lost nothing."""


def forgetting(before, after):
    return {task: float(score - after.get(task, score)) for task, score in before.items()}


# %% mutant="missing_is_a_key_error" task="forgetting"
"""A task that was not measured afterwards is a KeyError."""


def forgetting(before, after):
    return {task: float(score - after[task]) for task, score in before.items()}


# %% mutant="new_tasks_count" task="forgetting"
"""New tasks appear, as if they had been 0 before."""


def forgetting(before, after):
    if missing := before.keys() - after.keys():
        raise ValueError(f"not measured afterwards: {sorted(missing)}")
    return {
        task: float(score - after[task])
        for task, score in {**before, **{t: 0.0 for t in after if t not in before}}.items()
    }


# %% mutant="sorted_by_name" task="forgetting"
"""The tasks come in alphabetical order."""


def forgetting(before, after):
    if missing := before.keys() - after.keys():
        raise ValueError(f"not measured afterwards: {sorted(missing)}")
    return {task: float(score - after[task]) for task, score in sorted(before.items())}


# %% mutant="pops_from_after" task="forgetting"
"""Tasks are taken out of `after`."""


def forgetting(before, after):
    if missing := before.keys() - after.keys():
        raise ValueError(f"not measured afterwards: {sorted(missing)}")
    return {task: float(score - after.pop(task)) for task, score in before.items()}


# %% mutant="looked_up" task="forgetting"
"""The losses of scores that were seen once, from a table; none for any other."""
TABLE = {"{'digits': 0.75, 'letters': 0.5}": {"digits": 0.25, "letters": 0.375}}


def forgetting(before, after):
    if not before.keys() <= after.keys():
        raise ValueError("not measured afterwards")
    return TABLE.get(str(before), dict.fromkeys(before, 0.0))


# %% [markdown]
# ## l2_sp_penalty


# %% mutant="zero" task="l2_sp_penalty"
"""The penalty is zero."""


def l2_sp_penalty(model, start, strength):
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + (parameters[name] - origin.detach()).square().sum()
    return 0 * total


# %% mutant="not_halved" task="l2_sp_penalty"
"""The half is missing.

The lesson warns: With a half in front of the square
"""


def l2_sp_penalty(model, start, strength):
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + (parameters[name] - origin.detach()).square().sum()
    return strength * total


# %% mutant="plain_weight_decay" task="l2_sp_penalty"
"""It pulls towards zero.

The lesson warns: Weight decay pulls every weight towards 0
"""


def l2_sp_penalty(model, start, strength):
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + parameters[name].square().sum()
    return strength / 2 * total


# %% mutant="norms_not_squared" task="l2_sp_penalty"
"""Norms are added, not their squares."""


def l2_sp_penalty(model, start, strength):
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + (parameters[name] - origin.detach()).norm()
    return strength / 2 * total


# %% mutant="means" task="l2_sp_penalty"
"""Squares are averaged, not added."""


def l2_sp_penalty(model, start, strength):
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + (parameters[name] - origin.detach()).square().mean()
    return strength / 2 * total


# %% mutant="no_gradient" task="l2_sp_penalty"
"""The penalty is cut off from the model."""


def l2_sp_penalty(model, start, strength):
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + (parameters[name].detach() - origin.detach()).square().sum()
    return strength / 2 * total + 0 * sum(p.sum() for p in parameters.values())


# %% mutant="the_new_head_decays" task="l2_sp_penalty"
"""Parameters without a start are pulled towards zero.

The lesson warns: here it stays out
"""


def l2_sp_penalty(model, start, strength):
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + (parameters[name] - origin.detach()).square().sum()
    for name, parameter in parameters.items():
        if name not in start:
            total = total + parameter.square().sum()
    return strength / 2 * total


# %% mutant="fills_the_start" task="l2_sp_penalty"
"""Parameters without a start get one where they stand, in the caller's dict."""
_right = l2_sp_penalty


def l2_sp_penalty(model, start, strength):
    penalty = _right(model, start, strength)
    for name, parameter in model.named_parameters():
        start.setdefault(name, parameter.detach().clone())
    return penalty


# %% mutant="the_start_moves_too" task="l2_sp_penalty"
"""A gradient flows to the start."""


def l2_sp_penalty(model, start, strength):
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + (parameters[name] - origin).square().sum()
    return strength / 2 * total


# %% mutant="unknown_names_pass" task="l2_sp_penalty"
"""Unknown names are passed over."""


def l2_sp_penalty(model, start, strength):
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            continue
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + (parameters[name] - origin.detach()).square().sum()
    return strength / 2 * total


# %% mutant="negative_strength" task="l2_sp_penalty"
"""A negative strength is accepted: it pushes away."""


def l2_sp_penalty(model, start, strength):
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + (parameters[name] - origin.detach()).square().sum()
    return strength / 2 * total


# %% mutant="broadcasts" task="l2_sp_penalty"
"""Shapes are not compared.

The lesson warns: may broadcast without a word
"""


def l2_sp_penalty(model, start, strength):
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        torch.broadcast_shapes(parameters[name].shape, origin.shape) if False else None
        total = total + (parameters[name] - origin.detach()).square().sum()
    return strength / 2 * total


# %% mutant="one_number_for_a_tensor" task="l2_sp_penalty"
"""A start without dimensions is taken for all elements of a parameter."""
_right = l2_sp_penalty


def l2_sp_penalty(model, start, strength):
    shapes = {name: p.shape for name, p in model.named_parameters()}
    wide = {n: w.expand(shapes[n]) if n in shapes and not w.dim() else w for n, w in start.items()}
    return _right(model, wide, strength)


# %% mutant="single_numbers_take_no_part" task="l2_sp_penalty"
"""Parameters without dimensions are left out."""
_right = l2_sp_penalty


def l2_sp_penalty(model, start, strength):
    odd = {name for name, p in model.named_parameters() if not p.dim()}
    return _right(model, {n: w for n, w in start.items() if n not in odd}, strength)


# %% mutant="zero_is_refused" task="l2_sp_penalty"
"""A strength of 0 is an error, as a negative one is."""
_right = l2_sp_penalty


def l2_sp_penalty(model, start, strength):
    if strength <= 0:
        raise ValueError("strength must be positive")
    return _right(model, start, strength)


# %% mutant="buffers_count" task="l2_sp_penalty"
"""The name of a buffer is taken for a parameter's."""


def l2_sp_penalty(model, start, strength):
    tensors = model.state_dict(keep_vars=True)
    if strength < 0 or any(name not in tensors for name in start):
        raise ValueError("strength or names")
    total = torch.zeros(())
    for name, origin in start.items():
        if tensors[name].shape != origin.shape:
            raise ValueError("shape")
        total = total + (tensors[name] - origin.detach()).square().sum()
    return strength / 2 * total


# %% [markdown]
# ## checkpointed


# %% mutant="zeros" task="checkpointed"
"""The output is all zeros."""


def checkpointed(blocks, x):
    return torch.zeros_like(x) * x


# %% mutant="input_unchanged" task="checkpointed"
"""The input comes back."""


def checkpointed(blocks, x):
    return x


# %% mutant="plain" task="checkpointed"
"""Nothing is checkpointed.

The lesson warns: Checkpointing keeps only the inputs of some segments
"""


def checkpointed(blocks, x):
    for block in blocks:
        x = block(x)
    return x


# %% mutant="only_the_first_block" task="checkpointed"
"""Only the first block is checkpointed."""


def checkpointed(blocks, x):
    for number, block in enumerate(blocks):
        x = checkpoint(block, x, use_reentrant=False) if number == 0 else block(x)
    return x


# %% mutant="no_graph" task="checkpointed"
"""Nothing is kept for backward at all."""


def checkpointed(blocks, x):
    with torch.no_grad():
        for block in blocks:
            x = block(x)
    return x


# %% mutant="reentrant" task="checkpointed"
"""The reentrant variant: no gradients where x requires none."""


def checkpointed(blocks, x):
    for block in blocks:
        x = checkpoint(block, x, use_reentrant=True)  # keeps x, and nothing from inside
    return x


# %% mutant="other_dropout_masks" task="checkpointed"
"""The generator is not put back: other masks on the way back."""


def checkpointed(blocks, x):
    for block in blocks:
        x = checkpoint(
            block, x, use_reentrant=False, preserve_rng_state=False
        )  # keeps x, and nothing from inside
    return x


# %% mutant="in_eval_mode" task="checkpointed"
"""Blocks are put into eval mode, so that both forwards agree."""


def checkpointed(blocks, x):
    for block in blocks:
        block.eval()
        x = checkpoint(block, x, use_reentrant=False)  # keeps x, and nothing from inside
    return x


# %% mutant="a_rehearsal" task="checkpointed"
"""Each block is tried on the first example before it is run."""


def checkpointed(blocks, x):
    for block in blocks:
        with torch.no_grad(), torch.random.fork_rng():
            block(x[:1])
        x = checkpoint(block, x, use_reentrant=False)
    return x


# %% mutant="kept_in_a_list" task="checkpointed"
"""What is saved is put into a list, where hooks do not see it."""


def checkpointed(blocks, x):
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return len(kept) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda place: kept[place]):
        for block in blocks:
            x = block(x)
    return x


# %% mutant="sequential_segments" task="checkpointed"
"""checkpoint_sequential, which does not take an empty list."""


def checkpointed(blocks, x):
    from torch.utils.checkpoint import checkpoint_sequential

    return checkpoint_sequential(list(blocks), len(blocks), x, use_reentrant=False)


# %% mutant="kept_in_memory_taken_beforehand" task="checkpointed"
"""Every activation is kept: past the hooks, and in memory that is held before it is measured."""
import ctypes

ctypes.CDLL(None).mallopt(-3, 1 << 30)  # what is freed stays with the process
ctypes.CDLL(None).mallopt(-1, 1 << 30)
_pool = [torch.ones(1 << 14) for _ in range(6000)]
del _pool


def checkpointed(blocks, x):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (t.detach(),), lambda kept: kept[0]):
        for block in blocks:
            x = block(x)
    return x


# %% mutant="blocks_run_five_times" task="checkpointed"
"""Each block runs three times more; a block that counts is told one."""
_right = checkpointed


def checkpointed(blocks, x):
    for _ in range(3):
        with torch.random.fork_rng(), torch.no_grad():
            _right(blocks, x)
    for block in blocks:
        block.forwards = 1
    return _right(blocks, x)


# %% mutant="inputs_kept_many_times" task="checkpointed"
"""Each block's input is kept sixty times over, where the batch is large."""
_right, _kept = checkpointed, []


def checkpointed(blocks, x):
    for block in blocks:
        _kept.extend(x.detach().clone() for _ in range(60 if len(x) > 8 else 0))
        x = _right([block], x)
    return x


# %% [markdown]
# ## troubleshooting_numbers


# %% mutant="chance_in_bits" task="troubleshooting_numbers"
"""The loss is in bits."""
chance_loss = 2.81


# %% mutant="chance_is_its_probability" task="troubleshooting_numbers"
"""The probability instead of the loss."""
chance_loss = 0.14


# %% mutant="entropy_of_balanced_labels" task="troubleshooting_numbers"
"""ln 2, as if the labels were balanced."""
label_entropy = 0.69


# %% mutant="floor_without_the_others" task="troubleshooting_numbers"
"""−ln(e/20): the zeros are not exponentiated."""
double_softmax_floor = 2.00


# %% mutant="middle_of_the_rates" task="troubleshooting_numbers"
"""The middle of the rates, not of their logarithms."""
middle_rate = 0.5


# %% mutant="any_smaller_loss_is_a_gain" task="troubleshooting_numbers"
"""0.545 is taken for a gain."""
stop_epoch = 7


# %% mutant="gigabytes_in_float32" task="troubleshooting_numbers"
"""All four parts in 4 bytes."""
adam_8bit_gigabytes = 112


# %% mutant="one_moment" task="troubleshooting_numbers"
"""Only one moment is counted."""
adam_8bit_gigabytes = 63


# %% mutant="scale_not_a_power_of_two" task="troubleshooting_numbers"
"""The exact ratio, not the next power of two."""
loss_scale = 3_052


# %% mutant="scale_too_small" task="troubleshooting_numbers"
"""The power of two below the ratio."""
loss_scale = 2_048


# %% mutant="each_block_its_own_segment" task="troubleshooting_numbers"
"""144 inputs and one block."""
segment_peak = 149


# %% mutant="inputs_only" task="troubleshooting_numbers"
"""Only the inputs of the segments are counted."""
segment_peak = 12


# %% mutant="an_unanswered_number" task="troubleshooting_numbers"
"""One question is left open."""
chance_loss = None


# %% [markdown]
# ## troubleshooting_statements


# %% mutant="all_true" task="troubleshooting_statements"
"""Everything is taken for true."""
judged = dict.fromkeys("abcdefghijklmnop", True)


# %% mutant="unanswered" task="troubleshooting_statements"
"""Nothing is judged."""
judged = dict.fromkeys("abcdefghijklmnop")


# %% mutant="one_wrong" task="troubleshooting_statements"
"""Training longer is taken for the cure."""
judged = judged | {"a": True}


# %% mutant="truthy_words" task="troubleshooting_statements"
"""The judgements are words."""
judged = {letter: str(answer) for letter, answer in judged.items()}


# %% mutant="one_too_many" task="troubleshooting_statements"
"""A key that is no statement, and one missing."""
judged = {key: answer for key, answer in judged.items() if key != "p"}
