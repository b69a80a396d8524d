# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402, F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Right answers to the distillation lesson, written otherwise than the reference. A cell is run
# after all of the reference's cells, and graded on every task: each must earn all points.

# %% alternate="by_hand"
"""exp, log and sums by hand; KL as the cross-entropy minus the entropy; a loop over positions."""


def soft_targets(logits, temperature):
    if math.isnan(temperature) or temperature <= 0:
        raise ValueError("T must be positive")
    wide = logits.to(torch.float64)
    wide = (wide - wide.max(dim=-1, keepdim=True).values) / temperature
    powers = torch.exp(wide)
    return (powers / powers.sum(dim=-1, keepdim=True)).to(logits.dtype)


def log_softmax_by_hand(logits):
    return logits - logits.logsumexp(dim=-1, keepdim=True)


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if tuple(student_logits.shape) != tuple(teacher_logits.shape):
        raise ValueError("shapes differ")
    if not (temperature > 0 and alpha >= 0 and alpha <= 1):
        raise ValueError("settings out of range")
    log_q = log_softmax_by_hand(student_logits / temperature)
    with torch.no_grad():
        log_p = log_softmax_by_hand(teacher_logits / temperature)
        p = log_p.exp()
        entropy = -(p * log_p).sum()
    count = len(labels)
    soft = (-(p * log_q).sum() - entropy) / count
    rows = [i for i in range(count) if labels[i] != -100]
    hard = torch.zeros_like(soft)
    if rows:
        log_probabilities = log_softmax_by_hand(student_logits)
        hard = -torch.stack([log_probabilities[i, labels[i]] for i in rows]).mean()
    return alpha * soft * temperature * temperature + (1 - alpha) * hard


def feature_hint_loss(student_features, teacher_features, projector):
    guess = projector(student_features)
    if list(guess.shape) != list(teacher_features.shape):
        raise ValueError("shapes differ")
    with torch.no_grad():
        target = teacher_features.clone()
    return torch.mean((target - guess) ** 2)


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    if student_logits.shape != teacher_logits.shape or mask.shape != student_logits.shape[:-1]:
        raise ValueError("shapes differ")
    if not temperature > 0 or direction not in {"forward", "reverse"}:
        raise ValueError("settings")
    total, count = student_logits.new_zeros(()), 0
    for b, t in torch.nonzero(mask):
        log_q = log_softmax_by_hand(student_logits[b, t] / temperature)
        log_p = log_softmax_by_hand(teacher_logits[b, t].detach() / temperature)
        if direction == "forward":
            total = total + (log_p.exp() * (log_p - log_q)).sum()
        else:
            total = total + (log_q.exp() * (log_q - log_p)).sum()
        count += 1
    return total * (temperature**2 / count) if count else total


# %% alternate="distributions"
"""torch.distributions normalises; the padding is replaced before anything is computed."""
from torch.distributions import Categorical


def kl_divergence(left, right):  # torch's own is infinite where a probability underflows
    return (left.probs * (left.logits - right.logits)).sum(-1)


def soft_targets(logits, temperature):
    if not temperature > 0:
        raise ValueError("T must be positive")
    centred = logits.double() - logits.double().amax(-1, keepdim=True)
    return Categorical(logits=centred / temperature, validate_args=False).probs.to(logits.dtype)


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if student_logits.size() != teacher_logits.size():
        raise ValueError("shapes differ")
    if not (temperature > 0 and 0 <= alpha <= 1):
        raise ValueError("settings out of range")
    teacher = Categorical(logits=teacher_logits.detach() / temperature)
    student = Categorical(logits=student_logits / temperature)
    soft = kl_divergence(teacher, student).mean()
    each = F.cross_entropy(student_logits, labels, reduction="sum", ignore_index=-100)
    hard = each / (labels != -100).sum().clamp(min=1)
    return alpha * temperature**2 * soft + (1 - alpha) * hard


def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    if student_logits.size() != teacher_logits.size():
        raise ValueError("shapes differ")
    if mask.size() != student_logits.size()[:2]:
        raise ValueError("the mask's shape")
    if not temperature > 0 or direction not in ("forward", "reverse"):
        raise ValueError("settings")
    keep = mask.to(torch.bool)[..., None]
    zero = torch.zeros((), dtype=student_logits.dtype)
    student = Categorical(logits=torch.where(keep, student_logits, zero) / temperature)
    teacher = Categorical(logits=torch.where(keep, teacher_logits.detach(), zero) / temperature)
    pair = (teacher, student) if direction == "forward" else (student, teacher)
    each = kl_divergence(*pair)  # (B, T), 0 where both are padding
    return temperature**2 * each.sum() / keep.sum().clamp(min=1)


def imitation(student_logits, teacher_logits, temperature):
    student = Categorical(logits=student_logits / temperature)
    teacher = Categorical(logits=teacher_logits.detach() / temperature)
    return temperature**2 * kl_divergence(teacher, student).mean()


# %% alternate="probabilities_as_targets"
"""F.cross_entropy with probabilities and nn.KLDivLoss; F.mse_loss for the hint."""


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    if student_logits.shape != teacher_logits.shape:
        raise ValueError("shapes differ")
    if not temperature > 0 or not 0 <= alpha <= 1:
        raise ValueError("settings out of range")
    p = soft_targets(teacher_logits, temperature).detach()
    log_q = F.log_softmax(student_logits / temperature, dim=1)
    soft = nn.KLDivLoss(reduction="sum")(log_q, p) / student_logits.size(0)
    has = labels.ge(0)
    loss = alpha * temperature**2 * soft
    if bool(has.any()):
        one_hot = F.one_hot(labels[has], student_logits.size(1)).to(student_logits.dtype)
        loss = loss + (1 - alpha) * F.cross_entropy(student_logits[has], one_hot)
    return loss


def feature_hint_loss(student_features, teacher_features, projector):
    projected = projector(student_features)
    if projected.shape != teacher_features.shape:
        raise ValueError(f"{tuple(projected.shape)} is not {tuple(teacher_features.shape)}")
    return F.mse_loss(projected, teacher_features.detach())


def imitation(student_logits, teacher_logits, temperature):
    p = soft_targets(teacher_logits.detach(), temperature)
    soft = F.cross_entropy(student_logits / temperature, p) - torch.special.entr(p).sum(-1).mean()
    return soft * temperature**2


# %% alternate="a_stem_built_anew"
"""The folded stem is built from the old one's settings; einsum folds; the head by hand."""


def adapt_resnet(model, in_channels, num_classes):
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes <= 0:
        raise ValueError("num_classes")
    if in_channels != 1 and in_channels != 3:
        raise ValueError("in_channels")
    old, fc = model.conv1, model.fc
    if not (isinstance(old, nn.Conv2d) and old.in_channels == 3 and old.groups == 1):
        raise ValueError("conv1")
    if not isinstance(fc, nn.Linear):
        raise ValueError("fc")
    if in_channels == 1:
        like = {"device": old.weight.device, "dtype": old.weight.dtype}
        settings = {"stride": old.stride, "padding": old.padding, "dilation": old.dilation}
        settings |= {"padding_mode": old.padding_mode, "bias": old.bias is not None}
        new = nn.Conv2d(1, old.out_channels, old.kernel_size, **settings, **like)
        with torch.no_grad():
            new.weight.copy_(torch.einsum("oikl->okl", old.weight)[:, None])
            if old.bias is not None:
                new.bias.copy_(old.bias)
                new.bias.requires_grad = old.bias.requires_grad
        new.weight.requires_grad = old.weight.requires_grad
        new.train(old.training)
        setattr(model, "conv1", new)  # noqa: B010
    head = nn.Linear(fc.weight.shape[1], num_classes).to(fc.weight)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    model.fc = head
    return model


def make_student(net, num_classes):
    net.fc = nn.Linear(net.fc.weight.shape[1], num_classes).to(net.fc.weight)
    return net


# %% alternate="modes_in_a_list"
"""Modes as a list of pairs and a try; torch.inference_mode; gradients set to None by hand."""


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    x, y = batch
    before = [(m, m.training) for net in (student, teacher) for m in net.modules()]
    try:
        teacher.eval()
        with torch.inference_mode():
            answers = teacher(x)
        answers = answers.clone()  # an inference tensor could not enter the graph
        student.train(True)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        loss = distillation_loss(student(x), answers, y, temperature, alpha)
        loss.backward()
        optimizer.step()
        return float(loss)
    finally:
        for module, mode in before:
            module.training = mode


def imitation_step(student, teacher, optimizer, x, temperature):
    modes = student.training, teacher.training
    with torch.no_grad():
        answers = teacher.eval()(x)
    optimizer.zero_grad(set_to_none=False)
    loss = imitation(student.train()(x), answers, temperature)
    loss.backward()
    optimizer.step()
    student.train(modes[0])
    teacher.train(modes[1])
    return float(loss.detach())


# %% alternate="the_loaders_own_batches"
"""The batches stay as the loader made them; their order is drawn anew in each epoch, by a step."""


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    if epochs < 0:
        raise ValueError("epochs")
    if not epochs:
        return []
    state = torch.get_rng_state()
    modes = [(m, m.training) for net in (student, teacher) for m in net.modules()]
    try:
        torch.manual_seed(seed)
        batches = [tuple(batch) for batch in loader]
        if len(batches) == 0:
            raise ValueError("empty")
        teacher.eval()
        with torch.no_grad():
            said = [teacher(x) for x, _ in batches]
        student.train()
        parameters = (p for p in student.parameters() if p.requires_grad)
        optimizer = torch.optim.Adam(parameters, lr)
        history = []
        for _ in range(epochs):
            total, count = 0.0, 0
            for at in torch.randperm(len(batches)).tolist():
                x, y = batches[at]
                loss = distillation_loss(student(x), said[at], y, temperature, alpha)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total, count = total + float(loss) * len(y), count + len(y)
            history.append(total / count)
        return history
    finally:
        torch.set_rng_state(state)
        for module, mode in modes:
            module.training = mode


def make_optimizer(student, teacher, lr):
    return torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr)


# %% alternate="one_question_for_all"
"""The teacher is asked once about everything; an own generator shuffles; sums by math.fsum."""


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    if epochs < 0:
        raise ValueError("epochs")
    history = []
    if epochs == 0:
        return history
    with keeping_modes(student, teacher), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own = torch.Generator().manual_seed(seed)
        xs, ys = [], []
        for x, y in loader:
            xs.append(x)
            ys.append(y)
        if not xs:
            raise ValueError("empty")
        x, y, sizes = torch.cat(xs), torch.cat(ys), [len(part) for part in ys]
        with torch.no_grad():
            said = teacher.eval()(x)
        student.train()
        optimizer = torch.optim.Adam(student.parameters(), lr=lr, foreach=False)
        for _ in range(epochs):
            order, start, losses = torch.randperm(len(y), generator=own), 0, []
            for size in reversed(sizes):
                rows = order[start : start + size]
                start += size
                loss = distillation_loss(student(x[rows]), said[rows], y[rows], temperature, alpha)
                student.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item() * size)
            history.append(math.fsum(losses) / len(y))
    return history


# %% alternate="through_the_step"
"""The program goes through distill_step, with a teacher that looks its answers up."""


class Remembered(nn.Module):
    """Gives the rows that it is told to give next."""

    def __init__(self, answers):
        super().__init__()
        self.answers = answers
        self.rows = None

    def forward(self, x):
        return self.answers[self.rows]


def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    if epochs < 0:
        raise ValueError("epochs")
    losses = []
    with keeping_modes(student, teacher), torch.random.fork_rng():
        torch.manual_seed(seed)
        teacher.eval()
        with torch.no_grad():
            kept = [(x, y, teacher(x)) for x, y in loader] if epochs else []
        if epochs and not kept:
            raise ValueError("empty")
        if epochs:
            x, y, said = (torch.cat(part) for part in zip(*kept, strict=True))
            memory = Remembered(said)
            optimizer = torch.optim.Adam(student.parameters(), lr=lr)
        for _ in range(epochs):
            total = 0.0
            for rows in torch.randperm(len(y)).split([len(part) for _, part, _ in kept]):
                memory.rows = rows
                batch = x[rows], y[rows]
                loss = distill_step(student, memory, batch, optimizer, temperature, alpha)
                total += loss * len(rows)
            losses.append(total / len(y))
    return losses


# %% alternate="numbers_worked_out"
"""The numbers are worked out in the cell; the judgements come from two strings."""
d, inner, layers = 768, 3072, 12
adapter_parameters = layers * 2 * sum((d * 64, 64, 64 * d, d))
prompt_parameters = 20 * d
prefix_parameters = layers * 2 * prompt_parameters
ia3_parameters = layers * (2 * d + inner)
bitfit_parameters = layers * (4 * d + inner + d + 2 * d)
softened = round(math.exp(2) / (math.exp(2) + math.exp(1) + 1), 3)
terabytes = 10_000_000 * 50_000 * 2 / 1e12
adds_latency = {name: "adapters" in name or "tuning" in name for name in adds_latency}
adds_latency["full fine-tuning"] = False
judged = {letter: letter in "bdf" + "gjlnp" for letter in "abcdefghijklmnop"}
