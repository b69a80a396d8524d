# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # PEFT, SFT and distillation
#
# **The interview question.** *How does PEFT differ from supervised fine-tuning (SFT)? And what is
# knowledge distillation, with which it is often confused?*
#
# You will write distillation from its loss to a program that teaches a network of 11,000
# parameters what one of 175,000 knows, count what the methods of PEFT train, judge what is commonly
# said of all three, and answer the question in your own words.

# %% [markdown]
# ## Contents
#
# <!-- contents -->

# %% [markdown]
# ## How this lesson works
#
# Each task is a cell for your code and a locked one, `check("…")`, that tells you at once which
# requirements hold. The docstring is the contract: a check asks for what it says, and for nothing
# else. More checks run when the notebook is graded. Numbers and statements are judged once all of
# them are answered (in a class, or where one is left at None, at grading): answer first, then
# check.
#
# Long demonstrations take a few minutes on two cores; started by `COURSE_SCALE=small make lab` they
# take seconds.
#
# Help comes in layers: a nudge, then a hint, both folded away below the task, and after an honest
# attempt the reference: `show_reference("distillation_loss")`.
#
# Notation: z are the student's logits and v the teacher's, `(B, classes)` for images and
# `(B, T, V)` for text; T is also the temperature, and p(T) = softmax(v / T), q(T) = softmax(z / T).
# The paper is *Distilling the Knowledge in a Neural Network*, arXiv 1503.02531.

# %% [markdown]
# ## Before you read on
#
# Write down three or four sentences, as you would say them now. (Scratch paper: not graded. At the
# end you will write the graded answer, and see how far you have come.)
#
# *My first answer:* …

# %% [markdown]
# ## An answer that is often given
#
# In many collections of interview questions the answer reads about like this:
#
# > PEFT is the distillation of a pre-trained model: a large teacher passes its knowledge on to a
# > small student, which is then deployed. SFT trains the model itself on labelled data. So PEFT
# > gives a smaller and faster model, SFT a better one.
#
# Find the mistakes before you open the next part.
#
# <details><summary>What is wrong with it</summary>
#
# 1. *PEFT is not distillation.* The letters stand for parameter-efficient fine-tuning: of a
#    pretrained model, few parameters train, old ones or new ones beside them; all others are frozen
#    (arXiv 2205.05638, abstract). No second model takes part.
# 2. *PEFT and SFT are no rivals.* SFT says what is minimised: a loss on pairs of input and wanted
#    output. PEFT says which parameters move meanwhile. SFT *with* PEFT is everyday practice.
# 3. *PEFT gives no smaller model.* What shrinks is what training needs and what a task stores. At
#    inference the whole base runs, with what was trained merged into it (LoRA) or on top
#    (adapters). The small model comes from the third thing, distillation (1503.02531).
#
# </details>

# %% [markdown]
# ## Three questions to ask of any method
#
# | method | what is minimised | which parameters move | where targets come from |
# |---|---|---|---|
# | SFT, all parameters | cross-entropy on labelled pairs | all | people, or data |
# | SFT with LoRA | the same | the adapters | the same |
# | continued pretraining | next-token loss on raw text | all, or few | the text itself |
# | distillation | divergence from a teacher's outputs | the student's | another model |
# | distillation with LoRA | the same | the student's adapters | another model |
#
# Which parameters move is independent of what is minimised; where targets come from is so in part:
# the cross-entropy of SFT may be taken on pairs that a person wrote or a model. Whoever says which
# column a word belongs to stays clear of the confusion.

# %%
import contextlib
import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder import check, show_reference

# %% [markdown]
# ## Task 1: soft targets
#
# A label says "this is a 7". A teacher says "a 7, perhaps a 1, hardly a 4": for each image it knows
# how the classes resemble each other. After training, though, the 7 has a probability of 0.999,
# and the rest drowns. Dividing the logits by a temperature T > 1 before the softmax brings it back.
#
# Two limits tell you whether you have understood it: T → 0 and T → ∞.
#
# Half precision is a trap: the largest float16 is 65,504, and between 8,192 and 16,384 its
# numbers are 8 apart. Dividing such logits rounds, or overflows.
#
# difficulty ●●○○○ · importance ●●●●● · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# A softmax does not change when the same number is added to all logits. Which number makes an
# overflow impossible, or at least harmless?
#
# </details>
# <details><summary>Hint</summary>
#
# Subtract the maximum *before* dividing, and compute half-precision logits in float32. The quotient
# of the largest is then 0, whatever T; the others may be hugely negative, and exp of that is 0.
#
# </details>


# %% task="soft_targets"
def soft_targets(logits, temperature):
    """Probabilities at a temperature: softmax(logits / temperature) over the last dimension.

    Arguments
        logits       (..., classes): float64, float32, float16 or bfloat16, finite, of a magnitude
                     of at most 1e4; any leading dimensions, none included
        temperature  int or float in [1e-6, 1e6], or math.inf
    Returns
        (..., classes) in the dtype of `logits`; each row is finite and sums to 1, up to rounding

    Towards T = 0 all goes to the largest logit (equal ones share); T = inf gives every class the
    same. Half-precision logits give what float32 arithmetic gives, up to their own rounding.
    Gradients flow to `logits`, which are left unchanged.

    Raises ValueError: temperature is zero, negative or NaN.
    """
    ### BEGIN SOLUTION
    if not temperature > 0:  # NaN included
        raise ValueError(f"the temperature must be positive, not {temperature!r}")
    exact = logits if logits.dtype == torch.float64 else logits.float()
    shifted = exact - exact.amax(dim=-1, keepdim=True)  # (..., classes), ≤ 0: no overflow to +inf
    return (shifted / temperature).softmax(dim=-1).to(logits.dtype)
    ### END SOLUTION


# %% check="soft_targets" points=6
check("soft_targets")

# %% [markdown]
# **What the temperature shows.** One teacher's logits for an image of a 7, at four temperatures.
# At a finite temperature the order of the classes stays; how much the student sees of it does not.

# %% tags=["demonstration"]
logits = torch.tensor([0.5, 6.0, 2.0, 1.0, 3.0, -1.0, -3.0, 13.0, 0.0, 5.0])
for temperature in (1, 4, 20, math.inf):
    row = " ".join(f"{p:.4f}" for p in soft_targets(logits, temperature).tolist())
    print(f"T = {temperature:<4} {row}")

# %% [markdown]
# ## Task 2: the loss
#
# The student is to be like the teacher at the same temperature, and right at T = 1:
#
# loss = α · T² · KL(p(T) ‖ q(T)) + (1 − α) · CE(z, labels)
#
# **Why T²?** The gradient of one example's KL with respect to z is (q(T) − p(T)) / T, and at a high
# temperature, with logits of mean zero, the difference in it is about (z − v) / (classes · T):
# together 1/T². Without the factor, a change of T would also change how much the teacher counts.
#
# **Why KL in this direction?** KL(p ‖ q) is the cross-entropy with the soft targets, which is the
# paper's objective, less the teacher's entropy, in which there is nothing to train. KL(q ‖ p)
# trains the student's entropy too, and lets it leave classes out (Task 4).
#
# Often only a few images have labels. Here -100 marks the others, as in `F.cross_entropy`: a
# teacher has something to say about them all the same.
#
# difficulty ●●●○○ · importance ●●●●● · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# `F.kl_div(input, target)`: which of the two is the student's, and in which form? What does its
# default reduction divide by? And what does `F.cross_entropy` give if every label is -100?
#
# </details>
# <details><summary>Hint</summary>
#
# Both as log-probabilities: `F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)`.
# `log_softmax` stays finite where `softmax().log()` does not. A mean over no rows is NaN: ask first
# whether there is a label. `detach()` the teacher.
#
# </details>


# %% task="distillation_loss"
def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    """alpha · T² · KL(teacher ‖ student at T) + (1 − alpha) · cross-entropy(student at 1, labels).

    Arguments
        student_logits  (B, classes), float32 or float64
        teacher_logits  (B, classes), of the same dtype
        labels          (B,) int64: the class, or -100 for an example without a label
        temperature     int or float in [1e-3, 20]
        alpha           int or float in [0, 1]
    Returns
        0-d tensor, in the dtype of the logits

    The divergence is the mean over all B examples, the cross-entropy the mean over those that have
    a label; if none has, the second term is 0. Gradients flow to student_logits, and none to
    teacher_logits. Value and gradient are finite for logits up to 1e4 in magnitude.

    Raises ValueError: the two logits differ in shape (no broadcasting); temperature is not
    positive, or alpha not in [0, 1] (NaN is neither).
    """
    ### BEGIN SOLUTION
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(f"{student_logits.shape} and {teacher_logits.shape} differ")
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, not {temperature!r}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], not {alpha!r}")
    log_q = F.log_softmax(student_logits / temperature, dim=-1)  # (B, classes)
    log_p = F.log_softmax(teacher_logits.detach() / temperature, dim=-1)  # (B, classes)
    soft = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    labelled = labels != -100  # (B,)
    hard = soft.new_zeros(())
    if labelled.any():  # the mean over no example would be NaN
        hard = F.cross_entropy(student_logits[labelled], labels[labelled])
    return alpha * temperature**2 * soft + (1 - alpha) * hard
    ### END SOLUTION


# %% check="distillation_loss" points=10
check("distillation_loss")

# %% [markdown]
# **Why T² matters.** The size of the gradient of the soft term for random logits, with and without
# the factor. Without it, going from T = 1 to T = 16 is also a change of α.

# %% tags=["demonstration"]
torch.manual_seed(0)
student_logits, teacher_logits = torch.randn(64, 10, requires_grad=True), 3 * torch.randn(64, 10)
nobody = torch.full((64,), -100)  # no labels: the soft term alone
for temperature in (1, 2, 4, 8, 16):
    loss = distillation_loss(student_logits, teacher_logits, nobody, temperature, 1.0)
    (gradient,) = torch.autograd.grad(loss, student_logits)
    size = gradient.norm().item()
    print(f"T = {temperature:<3} with T²: {size:.4f}   without: {size / temperature**2:.5f}")

# %% [markdown]
# ## Task 3: hints
#
# Outputs are not all that a teacher has. FitNets (arXiv 1412.6550) lets a hidden layer of the
# student predict a hidden layer of the teacher. The student's is usually narrower, so a small
# *projector* is put on it, trained along with the student, and thrown away afterwards.
#
# A common mistake here is silent: `(B, 1)` against `(B, D)` broadcasts, `F.mse_loss` warns at
# most, and the student learns the teacher's mean.
#
# difficulty ●●○○○ · importance ●●●○○ · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# When can you compare the shapes: before or after projecting? Who is a constant here?
#
# </details>
# <details><summary>Hint</summary>
#
# Project, compare the shapes, raise; then the mean of the squared differences to
# `teacher_features.detach()`.
#
# </details>


# %% task="feature_hint_loss"
def feature_hint_loss(student_features, teacher_features, projector):
    """Mean squared error between the projected student's features and the teacher's.

    Arguments
        student_features  (B, ...): a hidden layer of the student
        teacher_features  (B, ...): a hidden layer of the teacher
        projector         module or function that is called with student_features
    Returns
        0-d tensor: the mean over all elements

    Gradients flow to student_features and to the projector's parameters, and none to
    teacher_features.

    Raises ValueError: what the projector returns has not exactly the shape of teacher_features
    (no broadcasting).
    """
    ### BEGIN SOLUTION
    projected = projector(student_features)
    if projected.shape != teacher_features.shape:
        raise ValueError(f"{projected.shape} can't be compared with {teacher_features.shape}")
    return (projected - teacher_features.detach()).square().mean()
    ### END SOLUTION


# %% check="feature_hint_loss" points=6
check("feature_hint_loss")

# %% [markdown]
# ## Task 4: sequences
#
# A language model is a classifier at every position, and its teacher has a distribution over the
# vocabulary at each of them. Two things are new.
#
# *Padding.* What stands at padded positions is rubbish and may be infinite or NaN: 0 · NaN is NaN,
# so multiplying by the mask is not masking.
#
# *Direction.* Forward, KL(teacher ‖ student), makes the student pay wherever the teacher has mass
# and it has none: it covers everything, and what it cannot represent it smears. Reverse,
# KL(student ‖ teacher), makes it pay for mass where the teacher has none: it may drop what it
# cannot do. MiniLLM (2306.08543) argues for the second in generating text; for language models
# trained for long enough, 2404.02657 (abstract) finds that both directions come to the same.
#
# difficulty ●●●○○ · importance ●●●●○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# Which positions should ever enter the softmax? And should a sequence of 3 tokens count as much as
# one of 300? The docstring says.
#
# </details>
# <details><summary>Hint</summary>
#
# `student_logits[mask.bool()]` is (N, V): select first, then compute, and nothing of the rest
# reaches value or gradient. For the other direction swap the roles: the first argument of
# `F.kl_div` is always the distribution on the *right* of ‖. With no position, return
# `student_logits.sum() * 0`? Not with a NaN in it: sum the *selected* ones.
#
# </details>


# %% task="sequence_distillation_loss"
def sequence_distillation_loss(student_logits, teacher_logits, mask, temperature, direction):
    """temperature² · KL at the temperature, as the mean over all positions that count.

    Arguments
        student_logits  (B, T, V), float32 or float64
        teacher_logits  (B, T, V), of the same dtype
        mask            (B, T), bool or int64: 1 where the position counts, 0 for padding. Position
                        t of the logits belongs to position t of the mask: nothing is shifted
        temperature     int or float in [1e-3, 20]
        direction       "forward": KL(teacher ‖ student); "reverse": KL(student ‖ teacher)
    Returns
        0-d tensor, in the dtype of the logits: the mean over the positions with mask 1 of the whole
        batch (a sequence of 5 tokens counts 5); 0 if there is none

    Gradients flow to student_logits (0 where the mask is 0), and none to teacher_logits. Logits
    where the mask is 0 have no influence on value or gradient, even if they are infinite or NaN.
    Value and gradient are finite for the other logits up to 1e4 in magnitude.

    Raises ValueError: the logits differ in shape, or the mask's is not their first two dimensions
    (no broadcasting); temperature is not positive (NaN is not); direction is another.
    """
    ### BEGIN SOLUTION
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(f"{student_logits.shape} and {teacher_logits.shape} differ")
    if mask.shape != student_logits.shape[:2]:
        raise ValueError(f"a mask of {mask.shape} for logits of {student_logits.shape}")
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, not {temperature!r}")
    if direction not in ("forward", "reverse"):
        raise ValueError(f'direction is "forward" or "reverse", not {direction!r}')
    counts = mask.bool()  # (B, T)
    student, teacher = student_logits[counts], teacher_logits[counts].detach()  # (N, V) each
    if len(student) == 0:
        return student.sum()  # 0, and a part of the graph
    log_q = F.log_softmax(student / temperature, dim=-1)
    log_p = F.log_softmax(teacher / temperature, dim=-1)
    left, right = (log_p, log_q) if direction == "forward" else (log_q, log_p)
    # kl_div(right, left) is KL(left ‖ right)
    return temperature**2 * F.kl_div(right, left, reduction="batchmean", log_target=True)
    ### END SOLUTION


# %% check="sequence_distillation_loss" points=10
check("sequence_distillation_loss")

# %% [markdown]
# **Two directions, two students.** A teacher has two peaks, the student only one (a discretised
# normal curve with a mean and a width to learn). Forward KL covers both peaks, and is highest
# midway between them, where the teacher has next to nothing. Reverse KL ends on one of them from
# the start chosen here; start at −1, and it is the other; start nearer to the middle, and it stays
# over both, in a worse minimum.

# %% tags=["demonstration"]
import matplotlib.pyplot as plt

place = torch.linspace(-6, 6, 121)  # (V,): a vocabulary of places on a line
peaks = torch.exp(-0.5 * ((place - 2.5) / 0.7) ** 2) + torch.exp(-0.5 * ((place + 2.5) / 0.7) ** 2)
teacher_logits = (peaks + 1e-9).log()
figure, axes = plt.subplots(figsize=(7, 3.5))
axes.fill_between(place, teacher_logits.softmax(0), alpha=0.3, label="teacher")
for direction in ("forward", "reverse"):
    mean = torch.tensor(1.0, requires_grad=True)
    width = torch.tensor(0.0, requires_grad=True)  # its logarithm
    optimizer = torch.optim.Adam([mean, width], lr=0.1)
    for _ in range(200):
        curve = -0.5 * ((place - mean) / width.exp()) ** 2  # (V,)
        one = torch.ones(1, 1, dtype=torch.int64)
        loss = sequence_distillation_loss(
            curve[None, None], teacher_logits[None, None], one, 1, direction
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    axes.plot(place, curve.detach().softmax(0), label=f"student, {direction} KL")
axes.set(xlabel="place", ylabel="probability", title="one peak for a teacher with two")
axes.legend()
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Task 5: a ResNet for other images and classes
#
# Two layers of an ImageNet ResNet do not fit grey digits: the *stem* takes three channels, and the
# *head* gives 1,000 classes. Published programs feed it the wrong number of channels, or
# put a `Linear(1000, 10)` *behind* the old head: two linear layers in a row can do no more than one
# on the 512 features, and carry 513,000 parameters for the names of other things along.
#
# For one channel the stem can be folded: a grey image shown as three equal channels and the folded
# stem on the one channel give the same numbers, and two thirds of this layer's work are saved.
# (The three channels must be equal in what the network gets: ImageNet's mean and deviation for each
# channel make them unequal.)
#
# difficulty ●●○○○ · importance ●●●○○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# Write the convolution of an image whose three channels are equal as a sum over the channels. What
# can be taken out of the sum?
#
# </details>
# <details><summary>Hint</summary>
#
# W₁g + W₂g + W₃g = (W₁ + W₂ + W₃)g: the sum over dimension 1, not the mean. A `copy.deepcopy` of
# the stem keeps stride, padding, padding mode, dilation and bias; give it `in_channels` and a new
# weight, which trains only if the old one did. Look at everything that may be wrong before you
# change anything.
#
# </details>


# %% task="adapt_resnet"
def adapt_resnet(model, in_channels, num_classes):
    """Fit a ResNet for three-channel images to other images and classes, in place; returns it.

    Arguments
        model        module with a stem `conv1` (nn.Conv2d with 3 input channels, groups = 1) and a
                     head `fc` (nn.Linear), such as torchvision.models.resnet18
        in_channels  1 or 3
        num_classes  int ≥ 1
    Returns
        the very model given

    - in_channels = 1: conv1 is replaced by an nn.Conv2d for one channel, folded so that the model
      gives for a grey image (B, 1, H, W) what it gave for the image with that channel three times.
      Every setting of the old stem is kept (stride, padding, padding mode, dilation, bias), its
      dtype and device, and whether its parameters are trainable.
    - in_channels = 3: conv1 stays the very object that it was.
    - In both cases fc is replaced by a new, trainable nn.Linear(fc.in_features, num_classes) with a
      bias, random, in the dtype and on the device of the old head.

    Nothing else changes.

    Raises ValueError, *before* anything is changed: in_channels is neither 1 nor 3; num_classes is
    not an int (2.0 and True are none) or is < 1; conv1 is not an nn.Conv2d with 3 input channels
    and groups = 1; fc is not an nn.Linear.
    """
    ### BEGIN SOLUTION
    stem, head = model.conv1, model.fc
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels is 1 or 3, not {in_channels!r}")
    if type(num_classes) is not int or num_classes < 1:
        raise ValueError(f"num_classes must be an int of at least 1, not {num_classes!r}")
    if not isinstance(stem, nn.Conv2d) or stem.in_channels != 3 or stem.groups != 1:
        raise ValueError(f"conv1 must be an ungrouped nn.Conv2d for 3 channels, not {stem}")
    if not isinstance(head, nn.Linear):
        raise ValueError(f"fc must be an nn.Linear, not {type(head).__name__}")
    if in_channels == 1:
        folded = copy.deepcopy(stem)  # with all its settings and its bias
        folded.in_channels = 1
        weight = stem.weight.detach().sum(dim=1, keepdim=True)  # (out, 1, kh, kw)
        folded.weight = nn.Parameter(weight, requires_grad=stem.weight.requires_grad)
        model.conv1 = folded
    like = {"dtype": head.weight.dtype, "device": head.weight.device}
    model.fc = nn.Linear(head.in_features, num_classes, **like)  # in place of the old, not behind
    return model
    ### END SOLUTION


# %% check="adapt_resnet" points=10
check("adapt_resnet")

# %% [markdown]
# ## Task 6: one step
#
# A step of distillation runs two networks that must not be treated alike. The student is in train
# mode, and learns. The teacher is in eval mode (else dropout blurs its answers, and its batch-norms
# answer by the batch and drift), needs no graph, and is not touched.
#
# During the step every submodule of the student is in train mode, also one that somebody put into
# eval mode on purpose. Afterwards that one is in eval mode again, even if the step ended in an
# error.
#
# The loss is that of Task 2, here and in the next two tasks: a mistake there shows here as well.
#
# difficulty ●●●○○ · importance ●●●●● · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# `model.train(was_training)` sets *all* submodules alike. What do you have to write down
# beforehand, and where does the code stand that runs in any case?
#
# </details>
# <details><summary>Hint</summary>
#
# `{module: module.training for module in model.modules()}`, and in a `finally` set `training` one
# by one. `with torch.no_grad():` around the teacher. `optimizer.zero_grad()` comes before
# `backward`.
#
# </details>


# %% task="distill_step"
@contextlib.contextmanager
def keeping_modes(*models):
    """Helper, not graded: after the block each submodule is in the mode it had before."""
    ### BEGIN SOLUTION
    modes = {module: module.training for model in models for module in model.modules()}
    try:
        yield
    finally:  # after an error, too
        for module, mode in modes.items():
            module.training = mode
    ### END SOLUTION


def distill_step(student, teacher, batch, optimizer, temperature, alpha):
    """One training step of the student on the distillation loss; returns the loss as a float.

    Arguments
        student      module, inputs → logits (B, classes)
        teacher      module, inputs → logits (B, classes)
        batch        (inputs, labels), labels (B,) int64, -100 where there is none
        optimizer    torch.optim optimizer over parameters of the student
        temperature, alpha   as for distillation_loss
    Returns
        float: the loss of this batch before the step

    - The student's forward runs once, in train mode; the teacher's once, in eval mode.
    - Gradients left over from before have no influence on the step.
    - The teacher's parameters, buffers and gradients stay as they are (None stays None).
    - Afterwards every submodule of both is in the training mode it had before, also if the step
      raises an error (which is passed on).
    """
    ### BEGIN SOLUTION
    inputs, labels = batch
    with keeping_modes(student, teacher):
        student.train()
        teacher.eval()
        with torch.no_grad():
            teacher_logits = teacher(inputs)  # (B, classes)
        loss = distillation_loss(student(inputs), teacher_logits, labels, temperature, alpha)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()
    ### END SOLUTION


# %% check="distill_step" points=12
check("distill_step")

# %% [markdown]
# ## Task 7: the whole program
#
# Over ten epochs the teacher, by far the larger of the two, would answer the same question ten
# times. Where an example looks the same each time and the answers fit into memory, ask once and
# keep them: ten logits an image are 40 bytes.
#
# But a loader that shuffles gives the images in another order next time. Which answer belongs to
# which image then?
#
# **Speed.** What is counted: the teacher sees each example of the loader exactly once, however many
# epochs there are. What is timed: ten epochs with a teacher that is far larger than its student.
#
# difficulty ●●●●○ · importance ●●●●● · about 30 minutes
#
# <details><summary>Nudge</summary>
#
# Nobody says that you must go back to the loader for the second epoch.
#
# </details>
# <details><summary>Hint</summary>
#
# Read the loader once: keep inputs, labels, the teacher's logits, and how large the batches were.
# Then `torch.randperm(n).split(sizes)` makes an epoch. Do all of it, the reading too, within
# `torch.random.fork_rng()` and behind `torch.manual_seed(seed)`: a loader may shuffle by the global
# generator.
#
# </details>


# %% task="distill"
def distill(student, teacher, loader, epochs, *, lr, temperature, alpha, seed):
    """Distil a teacher into a student, in place: the whole program.

    Trains the student's trainable parameters with Adam (constant rate `lr`, else torch's defaults)
    on distillation_loss, one step a batch, the student in train mode, the teacher in eval mode.

    Arguments
        student, teacher    modules, inputs (B, ...) → logits (B, classes)
        loader              iterable of (inputs, labels), tensors on the device of the models,
                            labels (B,) int64, -100 where there is none; it is iterated only once,
                            and may shuffle
        epochs              int ≥ 0; with 0 nothing is trained, and the list is empty
        lr                  float
        temperature, alpha  as for distillation_loss
        seed                int, for the order of the examples and whatever else draws from torch's
                            global generator (dropout, a shuffling loader). Equal weights, loader
                            and seed give an equal result, and where something draws, another
                            seed gives another one; that generator's state is afterwards what
                            it was
    Returns
        list of `epochs` floats: the mean of the epoch's losses, each batch weighted by its number
        of examples, from the very forward passes that train

    Speed. The teacher sees each example exactly once in all (with 0 epochs never), the student once
    an epoch, in batches of the sizes that the loader's had (in any order). Which examples make up a
    batch, and in which order they come, is free. Timed on one CPU, with a convolutional teacher, a
    small student, one batch of 32 images and 10 epochs: at least half as fast as the reference.
    Where the grader has a GPU, also there: a teacher of eight layers, 8,192 wide, a batch of 4,096.

    It pays: on a small set of digits of which few have a label, the student is right on a share of
    held-out images more than 0.1 above that of the same student trained on the labels alone.

    Afterwards the teacher's parameters, buffers and gradients are what they were, and every
    submodule of both is in the training mode it had before.

    Raises ValueError: epochs < 0; the loader has no batch (if epochs > 0).
    """
    ### BEGIN SOLUTION
    if epochs < 0:
        raise ValueError(f"epochs must not be negative: {epochs}")
    losses = []
    if epochs == 0:
        return losses
    with keeping_modes(student, teacher), torch.random.fork_rng():
        torch.manual_seed(seed)
        student.train()
        teacher.eval()
        kept = []  # one entry a batch: inputs, labels, what the teacher says to them
        with torch.no_grad():
            for inputs, labels in loader:
                kept.append((inputs, labels, teacher(inputs)))
        if not kept:
            raise ValueError("the loader has no batch")
        sizes = [len(labels) for _, labels, _ in kept]
        inputs, labels, answers = (torch.cat(parts) for parts in zip(*kept, strict=True))
        trainable = [p for p in student.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trainable, lr=lr)
        for _ in range(epochs):
            total = 0.0
            for rows in torch.randperm(len(labels)).split(sizes):  # (B,) each
                logits = student(inputs[rows])  # (B, classes)
                loss = distillation_loss(logits, answers[rows], labels[rows], temperature, alpha)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)  # a sum: batches differ in size
            losses.append(total / len(labels))
    return losses
    ### END SOLUTION


# %% check="distill" points=13
check("distill")

# %% [markdown]
# ## What it does: a large network teaches a small one
#
# The teacher is a `SmallResNet` of width 16, trained on 2,500 labelled digits. The student has
# width 4, about a sixteenth of the parameters. For it there are 2,000 *other* images, of which 200
# have a label. Whoever has no labels can still ask the teacher.
#
# What the student is compared with is what makes the figure mean something:
#
# - **untouched**: random weights; **probe**: the head alone trained, on the 200 labels;
# - **200 labels**: everything trained on these alone, in about as many steps as the others;
# - **teacher's classes**: all 2,000 images with the teacher's answer as a hard label. If this did
#   as well as distillation, the probabilities would be of no use;
# - **all labels**: what the student could have learned if people had labelled all images.
#
# Two measures on 2,000 held-out images: accuracy, and *fidelity*, the share on which the student
# says what the teacher says, right or wrong. They are not the same thing (2106.05945).

# %% tags=["demonstration"]
import statistics
import time

from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18
from tqdm.auto import tqdm

from course import SCALE
from course.data import mnist
from course.models import SmallResNet

small, full = SCALE == "small", SCALE == "full"
TEACHER, TEACHER_EPOCHS = {"small": (1500, 4), "default": (2500, 5), "full": (40_000, 2)}[SCALE]
TRANSFER, EPOCHS = {"small": (2000, 3), "default": (2000, 5), "full": (20_000, 5)}[SCALE]
LABELLED, BATCH, RATE, ALPHA = 200, 32, 2e-3, 0.9
SEEDS, TEMPERATURES = (range(1), [4]) if small else (range(3), [1, 4, 16])
device = "cuda" if torch.cuda.is_available() and full else "cpu"
threads = torch.get_num_threads()
if not full:
    torch.set_num_threads(1)  # networks this small lose more by threads than they gain

options = {"full": True, "download": True} if full else {}
images, classes = mnist("train", **options).tensors  # (N, 1, 28, 28), (N,)
test_images, test_classes = (part.to(device) for part in mnist("test", **options).tensors)
transfer, truth = images[-TRANSFER:], classes[-TRANSFER:]  # the teacher never sees them
few_labels = truth.clone()
few_labels[LABELLED:] = -100


# %% tags=["demonstration"]
def loader(images, labels, batch_size=BATCH):
    return DataLoader(TensorDataset(images, labels), batch_size, shuffle=True)


def fit(model, parameters, batches, epochs, lr, falling=False):
    """Plain supervised training, at a constant rate or one that falls linearly to zero."""
    optimizer = torch.optim.Adam(parameters, lr=lr)
    steps = epochs * len(batches)
    end = 0.0 if falling else 1.0
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, end, steps)
    model.train()
    for _ in range(epochs):
        for x, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(x.to(device)), labels.to(device)).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def answers(model, images):
    """The class that the model gives to each image."""
    parts = [model.eval()(part.to(device)).argmax(dim=1) for part in images.split(500)]
    return torch.cat(parts)  # (N,)


def accuracy(said):
    return (said == test_classes).float().mean().item()


started = time.time()
torch.manual_seed(0)
if full:  # ImageNet's weights, with the stem folded and a new head by Task 5
    teacher, teacher_rate = adapt_resnet(resnet18(weights="DEFAULT"), 1, 10).to(device), 3e-4
else:
    teacher, teacher_rate = SmallResNet(num_classes=10, width=16), 3e-3
batches = loader(images[:TEACHER], classes[:TEACHER])
fit(teacher, teacher.parameters(), batches, TEACHER_EPOCHS, teacher_rate, falling=True)
teacher_says = answers(teacher, test_images)
sizes = [sum(p.numel() for p in m.parameters()) for m in (teacher, SmallResNet(10, width=4))]
print(f"teacher: {accuracy(teacher_says):.3f} right; parameters {sizes[0]:,} against {sizes[1]:,}")


# %% tags=["demonstration"]
def student_of(method, temperature, seed):
    """Train one student; returns its accuracy and its fidelity on held-out images."""
    torch.manual_seed(seed)
    student = SmallResNet(num_classes=10, width=4).to(device)
    labelled = transfer[:LABELLED], truth[:LABELLED]
    steps = EPOCHS * TRANSFER // BATCH
    if method in ("probe", "200 labels"):
        batches = loader(*labelled, batch_size=20)  # better for these two, as is a high rate
        parameters = student.fc.parameters() if method == "probe" else student.parameters()
        fit(student, parameters, batches, steps // len(batches), 1e-2)
    elif method == "teacher's classes":
        batches = loader(transfer, answers(teacher, transfer).cpu())
        fit(student, student.parameters(), batches, EPOCHS, RATE)
    elif method == "all labels":
        fit(student, student.parameters(), loader(transfer, truth), EPOCHS, RATE)
    elif method == "distilled":
        settings = {"lr": RATE, "temperature": temperature, "alpha": ALPHA, "seed": seed}
        batches = loader(transfer.to(device), few_labels.to(device))
        distill(student, teacher, batches, EPOCHS, **settings)
    said = answers(student, test_images)
    return accuracy(said), (said == teacher_says).float().mean().item()


methods = ["200 labels", "teacher's classes"]
methods += [] if small else ["untouched", "probe", "all labels"]
runs = [(method, None) for method in methods] + [("distilled", t) for t in TEMPERATURES]
results = {}
for method, temperature in tqdm(runs, desc="students"):
    label = method if temperature is None else f"distilled, T = {temperature}"
    results[label] = [student_of(method, temperature, seed) for seed in SEEDS]
torch.set_num_threads(threads)


def mean_and_spread(rows, column):
    values = [row[column] for row in rows]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


print(f"{'':20}{'accuracy':>15}{'fidelity':>16}")
for label, rows in results.items():
    (right, right_std), (same, same_std) = mean_and_spread(rows, 0), mean_and_spread(rows, 1)
    print(f"{label:20}{right:9.3f} ± {right_std:.3f}{same:9.3f} ± {same_std:.3f}")
print(f"{time.time() - started:.0f} seconds")

# %% tags=["demonstration"]
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5))
for number, (label, rows) in enumerate(results.items()):
    (acc, acc_std), (same, same_std) = mean_and_spread(rows, 0), mean_and_spread(rows, 1)
    left.errorbar(same, acc, acc_std, same_std, "o", color=f"C{number}", capsize=3, label=label)
left.set(xlabel="fidelity: agrees with the teacher", ylabel="accuracy")
left.set_title(f"{len(results)} kinds of student: up is right, to the right is alike")
left.legend(fontsize=7)
for column, name in enumerate(("accuracy", "fidelity")):
    sweep = [mean_and_spread(results[f"distilled, T = {t}"], column) for t in TEMPERATURES]
    right.errorbar(TEMPERATURES, *zip(*sweep, strict=True), marker="o", capsize=3, label=name)
level = mean_and_spread(results["teacher's classes"], 0)[0]
right.axhline(level, linestyle="--", color="grey", label="accuracy with the teacher's classes")
right.set_xscale("log", base=2)
right.set(xlabel="temperature", ylabel="share of held-out images", title="temperature")
right.legend()
figure.suptitle(f"{len(SEEDS)} seeds, mean ± standard deviation; {TRANSFER:,} images, 200 labels")
figure.tight_layout()
plt.show()

# %% [markdown]
# **What to expect.** The cell above runs three seeds. Over eight seeds mean and standard deviation
# were those of the next cell: accuracy, then fidelity to the teacher, which itself was right on
# 0.973 of the images. The rate was chosen for distillation; the two that see 200 labels alone have
# a higher one, which did more for them.

# %% tags=["demonstration"]
EIGHT_SEEDS = {  # at the default scale: ((mean, std) of accuracy, (mean, std) of fidelity)
    "untouched": ((0.104, 0.009), (0.105, 0.009)),
    "probe": ((0.248, 0.034), (0.248, 0.034)),
    "200 labels": ((0.786, 0.086), (0.791, 0.086)),
    "teacher's classes": ((0.918, 0.026), (0.921, 0.025)),
    "all labels": ((0.924, 0.007), (0.924, 0.008)),
    "distilled, T = 1": ((0.926, 0.011), (0.930, 0.011)),
    "distilled, T = 4": ((0.930, 0.014), (0.936, 0.014)),
    "distilled, T = 16": ((0.936, 0.009), (0.944, 0.009)),
}
STATED = {
    f"{name}: {what}": row[k]
    for name, row in EIGHT_SEEDS.items()
    for k, what in enumerate(["accuracy", "fidelity"])
}
TOLERANCE = 0.1  # the small scale trains three epochs, not five, and lies some 0.03 lower
measured = {}
for label, rows in results.items():
    for column, what in enumerate(["accuracy", "fidelity"]):
        name = f"{label}: {what}"
        measured[name] = mean_and_spread(rows, column)[0]
        mean, std = STATED[name]
        off = "   not as stated" * (abs(measured[name] - mean) > max(4 * std, TOLERANCE))
        print(f"{name:30} here {measured[name]:.3f}   stated {mean:.3f} ± {std:.3f}{off}")

# %% [markdown]
# **What follows, and what does not.**
#
# - The teacher is worth the labels: with 200 of them and the teacher's answers to 2,000 images the
#   student reaches 0.930 ± 0.014 (T = 4), as with 2,000 labels, 0.924 ± 0.007, and far more than
#   with the 200 alone, 0.786 ± 0.086. The 2,500 labels that made the teacher are not counted here.
# - Most of it comes from the images that the teacher can label, not from its probabilities: its
#   classes alone give 0.918 ± 0.026. The soft targets add a little, and steadiness; with eight
#   seeds the difference at T = 4 lies within the spread.
# - A high temperature does no harm here: 0.936 ± 0.009 at T = 16. Without the T² the soft term
#   would count 256 times less there.
# - Fidelity is higher than accuracy for each distilled student: on 0.4 to 0.8 % of the images at
#   least it is wrong in the very way that its teacher is. That alone proves no copying, for the
#   student with 200 labels, who never met the teacher, has such a gap (0.005), too.
# - And fidelity, at most 0.944, is well below 1. Whether for want of capacity, of steps or of
#   images is not measured here; 2106.05945 reports a gap even for students that have the capacity
#   to match their teacher, and names optimisation as a key reason.
# - The probe shows that a random body is of little use: distillation trains all of the student.
# - Nothing of this is PEFT: the student is another network, and all of its parameters train.

# %% [markdown]
# ## Task 8: bug hunt
#
# The cell below is a program of our own that makes mistakes of published ones. It runs, its loss
# falls, and the student learns next to nothing of the teacher. There are at least ten mistakes.
#
# Mend it under the names of the task's cell.
#
# difficulty ●●●○○ · importance ●●●●○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# Ask of each function: who answers, who is asked, who learns? In which mode is each? What does
# `F.kl_div` expect, in which order, and what does it divide by?
#
# </details>
# <details><summary>Hint</summary>
#
# Look at: where the new head stands · who is trained · whose answers the targets are · in which
# mode and with which graph · logits, probabilities, log-probabilities · the order of the
# arguments · the temperature on both sides · the factor for it · the reduction · old gradients ·
# what is returned.
#
# </details>


# %%
def broken_student(net, num_classes):
    return nn.Sequential(net, nn.Linear(net.fc.out_features, num_classes))


def broken_optimizer(student, teacher, lr):
    return torch.optim.SGD([*teacher.parameters(), *student.parameters()], lr=lr)


def broken_imitation(student_logits, teacher_logits, temperature):
    student_soft = student_logits.softmax(dim=-1)
    teacher_soft = (teacher_logits / temperature).softmax(dim=-1)
    return F.kl_div(teacher_soft, student_soft)


def broken_step(student, teacher, optimizer, x, temperature):
    student_logits = student(x)
    teacher_logits = student(x)
    loss = broken_imitation(student_logits, teacher_logits, temperature)
    loss.backward()
    optimizer.step()
    return loss


# %% tags=["demonstration"]
import warnings

torch.manual_seed(0)
old = nn.Sequential()
old.add_module("body", nn.Linear(8, 6))
old.add_module("fc", nn.Linear(6, 20))
big = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.ReLU(), nn.Linear(64, 3))
x = torch.randn(64, 8)
wrong = broken_student(old, 3)
sgd = broken_optimizer(wrong, big, lr=0.1)
with warnings.catch_warnings():
    # torch warns of the reduction, and the program's author did not look.
    warnings.simplefilter("ignore")
    losses = [round(broken_step(wrong, big, sgd, x, 4.0).item(), 4) for _ in range(5)]
print("losses:", losses, "(a KL can't be negative)")
big.eval()
agree = (wrong(x).argmax(dim=1) == big(x).argmax(dim=1)).float().mean().item()
print(f"agrees with its teacher on {agree:.0%} of the images; by chance: about a third")


# %% task="distillation_bug_hunt"
def make_student(net, num_classes):
    """broken_student, mended: `net` itself with a new head in the place of the old, in place.

    net has a head `fc`, an nn.Linear; afterwards fc is a new trainable nn.Linear with num_classes
    outputs on the same features (random, dtype of the old), and net is returned.
    """
    ### BEGIN SOLUTION
    net.fc = nn.Linear(net.fc.in_features, num_classes, dtype=net.fc.weight.dtype)
    return net
    ### END SOLUTION


def make_optimizer(student, teacher, lr):
    """broken_optimizer, mended: plain SGD, rate lr, no momentum, over what is to learn."""
    ### BEGIN SOLUTION
    return torch.optim.SGD(student.parameters(), lr=lr)  # the teacher is done with learning
    ### END SOLUTION


def imitation(student_logits, teacher_logits, temperature):
    """broken_imitation, mended: the soft term of Task 2's loss, without alpha.

    Both logits are (B, classes); the result is a 0-d tensor.
    """
    ### BEGIN SOLUTION
    log_q = F.log_softmax(student_logits / temperature, dim=-1)
    p = F.softmax(teacher_logits.detach() / temperature, dim=-1)
    # Log-probabilities of the student first, probabilities of the teacher second, a mean over rows.
    return temperature**2 * F.kl_div(log_q, p, reduction="batchmean")
    ### END SOLUTION


def imitation_step(student, teacher, optimizer, x, temperature):
    """broken_step, mended: one step as `distill_step` of Task 6 takes it, on `imitation` alone.

    In which modes the two are left is up to you. Returns what `distill_step` returns.
    """
    ### BEGIN SOLUTION
    student.train()
    teacher.eval()
    with torch.no_grad():
        teacher_logits = teacher(x)  # (B, classes): of the teacher, not of the student
    loss = imitation(student(x), teacher_logits, temperature)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    ### END SOLUTION


# %% check="distillation_bug_hunt" points=7
check("distillation_bug_hunt")

# %% [markdown]
# ## Task 9: numbers
#
# How many parameters does each method of PEFT train, and what does it cost afterwards? *Adapters*
# are small layers between those of the base. A *soft prompt* is a row of trained embeddings at the
# input, a *prefix* trained keys and values in every layer, which all tokens can attend to. *(IA)³*
# multiplies a layer's keys, values and the hidden layer of its feed-forward part by trained
# vectors, and *BitFit* trains the biases that are there. Compute by hand; write a number or an
# expression.
#
# "The encoder" is one of BERT-base's size: 12 layers of width 768. A layer has four attention
# matrices 768 × 768, a feed-forward part 768 → 3,072 → 768, each of these six with a bias, and two
# layer norms, each with a weight and a bias of 768.
#
# difficulty ●●○○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# Count one layer, then multiply. A prompt stands at the input only, a prefix in every layer.
#
# </details>
# <details><summary>Hint</summary>
#
# A bottleneck adapter is two linear layers with biases, 768 → 64 → 768. A vector has an entry for
# each number that it multiplies. For the last question ask: what is still there at inference that
# the base has not?
#
# </details>

# %% task="distillation_numbers"
# 1. Adapters: parameters of bottleneck adapters of size 64, biases included, two in each of the
#    encoder's 12 layers (nothing else trains).
adapter_parameters = None
# 2. Prompt tuning: trainable parameters of a soft prompt of 20 positions at the encoder's input.
prompt_parameters = None
# 3. Prefix tuning: trainable parameters of 20 trained keys and 20 trained values of width 768 in
#    each of the 12 layers (stored as such, without a network that makes them).
prefix_parameters = None
# 4. (IA)³: trainable parameters for the 12 layers.
ia3_parameters = None
# 5. BitFit: trainable parameters if all biases within the 12 layers train (no embeddings, no head).
bitfit_parameters = None
# 6. A teacher's logits for three classes are 8, 4 and 0. The probability of the first class at
#    T = 4, to three decimals.
softened = None
# 7. You keep the teacher's full distribution, a vocabulary of 50,000 in float16, for a text of 10
#    million tokens. How many terabytes (10¹² bytes)? The exact number.
terabytes = None
# 8. Is a model tuned by this method more work to run than its base, once what can be merged into
#    the weights is merged? True or False each: a right answer is worth 1, a wrong one −1, None 0;
#    the sum, never below 0, divided by 7, is your share of these points.
adds_latency = {
    "full fine-tuning": None,
    "adapters": None,
    "LoRA": None,
    "(IA)³": None,
    "BitFit": None,
    "prompt tuning": None,
    "prefix tuning": None,
}
### BEGIN SOLUTION
adapter_parameters = 2_379_264  # 24 · (768·64 + 64 + 64·768 + 768) — counting; 1902.00751
prompt_parameters = 15_360  # 20 · 768 — counting; 2104.08691
prefix_parameters = 368_640  # 12 · 2 · 20 · 768 — counting; 2101.00190
ia3_parameters = 55_296  # 12 · (768 + 768 + 3,072) — counting; 2205.05638
bitfit_parameters = 101_376  # 12 · (4·768 + 3,072 + 768 + 2·768) — counting; 2106.10199
softened = 0.665  # e² / (e² + e + 1) — definition; 1503.02531 §2
terabytes = 1.0  # 10⁷ · 50,000 · 2 bytes = 10¹²: the reason to keep only the largest — counting
adds_latency = {  # New layers and positions stay; new values of old weights cost nothing — counting
    "full fine-tuning": False,
    "adapters": True,
    "LoRA": False,
    "(IA)³": False,
    "BitFit": False,
    "prompt tuning": True,
    "prefix tuning": True,
}
### END SOLUTION

# %% check="distillation_numbers" points=9
check("distillation_numbers")

# %% [markdown]
# ## Task 10: judge these statements
#
# Each is said or written somewhere of PEFT, SFT or distillation. True or False? A right answer is
# worth 1, a wrong one −1, None 0; the sum, never below 0, divided by 16, is your share of the
# points.
#
# difficulty ●●○○○ · importance ●●●●○ · about 10 minutes
#
# - **a.** PEFT stands for pre-trained model distillation: a large teacher trains a small student.
# - **b.** One can do supervised fine-tuning *with* a method of PEFT: one name says what is
#   minimised, the other which parameters move.
# - **c.** A model tuned with LoRA is smaller than its base, and so it answers faster.
# - **d.** In exact arithmetic, dividing logits by a finite temperature above 1 never changes which
#   class has the largest probability.
# - **e.** The factor T² makes the teacher's softened probabilities sum to 1 again.
# - **f.** At a temperature high against the logits, and with logits of mean zero, distillation
#   comes close to matching the logits themselves in the squared error.
# - **g.** For a fixed teacher, minimising KL(teacher ‖ student) and minimising the cross-entropy
#   with the teacher's probabilities give the student the same gradients.
# - **h.** If all of the teacher's parameters have `requires_grad=False`, it gives the same targets
#   in train mode as in eval mode, whatever its layers.

# %% [markdown]
# - **i.** A distilled student can't do better than its teacher.
# - **j.** Distillation can learn from images that nobody has labelled.
# - **k.** `F.kl_div` with its default reduction gives the mean of the divergence over the examples.
# - **l.** A hidden layer that is narrower than the teacher's can still be trained on the teacher's
#   as a hint, by way of a projection that is trained along.
# - **m.** The more closely a student agrees with its teacher, the better it does on held-out data,
#   always.
# - **n.** Reverse KL lets a student leave out some of what the teacher does; forward KL punishes it
#   for leaving out anything that the teacher finds probable.
# - **o.** DistilBERT was made by distilling, for each task, a BERT already fine-tuned on it.
# - **p.** In on-policy distillation the student learns on sequences that it has generated itself,
#   and that the teacher judges.

# %% task="distillation_statements"
judged = dict.fromkeys("abcdefghijklmnop")  # judged["a"] = True or False; None is no answer
### BEGIN SOLUTION
judged = {
    # Parameter-efficient fine-tuning: few parameters of or beside one frozen base — 2205.05638
    # abstract; definition.
    "a": False,
    # A loss on labelled pairs, and a set of trainable parameters: two choices — definition.
    "b": True,
    # The whole base is there, merged or with adapters on top — 2106.09685 §4.1; counting.
    "c": False,
    # Division by a positive number keeps the order of the logits — algebra.
    "d": True,
    # A softmax sums to 1 at any T; the factor undoes the 1/T² of the gradients — 1503.02531 §2.
    "e": False,
    # Then the gradient is about (z − v) / (classes · T²) — 1503.02531 §2.1.
    "f": True,
    # They differ by the entropy of the teacher, a constant for the student — algebra.
    "g": True,
    # Dropout still drops, and batch-norm still normalises by the batch — PyTorch `nn.Dropout`;
    # PyTorch `nn.BatchNorm2d`.
    "h": False,
    # Students of the teacher's own architecture did better than it — 1805.04770 abstract.
    "i": False,
    # The soft term needs no label: 1,800 of 2,000 images here have none — measured in Task 7's
    # demonstration.
    "j": True,
    # "mean" divides by the number of elements; "batchmean" is the divergence — PyTorch
    # `nn.KLDivLoss`.
    "k": False,
    # Additional parameters map the student's layer to the teacher's — 1412.6550 abstract.
    "l": True,
    # Closer agreement does not always generalise better — 2106.05945 abstract.
    "m": False,
    # −Σ p log q grows without bound where p is and q goes to 0; Σ q log(q/p) has no term where q
    # is 0 — algebra; measured in Task 4's demonstration.
    "n": True,
    # It was distilled in pretraining, and is fine-tuned like BERT — 1910.01108 abstract.
    "o": False,
    # GKD: self-generated outputs with feedback from the teacher — 2306.13649 abstract.
    "p": True,
}
### END SOLUTION

# %% check="distillation_statements" points=8
check("distillation_statements")

# %% [markdown]
# ## Task 11: the interview answer, yours
#
# "How does PEFT differ from SFT? And what is distillation?" Answer in the next cell, in 150 to 300
# words, as you would say it to an interviewer. A person grades it, 10 points:
#
# | points | for |
# |---|---|
# | 2 | PEFT spelled out: few parameters train, old or new ones, all others stay; two examples |
# | 1 | SFT: a loss on labelled pairs; it says nothing of which parameters move |
# | 1 | the two combine |
# | 2 | distillation as the third thing: targets from a teacher; temperature, or why soft targets |
# | 1 | the factor T², or the direction of KL, with the reason |
# | 1 | what each makes cheaper: training, storage, inference |
# | 1 | a number: parameters of an example |
# | 1 | a limit, with a source |
#
# A false statement in the answer costs 1, down to 0.
#
# difficulty ●●●○○ · importance ●●●●● · about 15 minutes

# %% [markdown] free_text="explain_distillation" points=10
# ### Your answer: how PEFT, SFT and distillation differ
#
# ### BEGIN SOLUTION
# They answer different questions. Supervised fine-tuning names the objective: continue training a
# pretrained model on pairs of input and wanted output, by cross-entropy. It does not say which
# parameters move. Parameter-efficient fine-tuning names those: the base is frozen, and few
# parameters of it or beside it train. BitFit trains biases, adapters are small layers in between,
# LoRA is a low-rank update, prefix tuning adds trained keys and values. So SFT with LoRA is no
# contradiction but the usual thing.
#
# Distillation is the third: the targets come from another model. A student learns a teacher's
# output distribution, softened by a temperature so that the small probabilities show how classes
# resemble each other. The loss is T² · KL(teacher ‖ student) plus a share of the ordinary
# cross-entropy; T² since the gradients of the KL shrink with 1/T². This first term needs no labels.
#
# What gets cheaper differs, too. PEFT makes training and storage cheaper: adapters of size 64 in
# BERT-base are 2.4 million parameters, beside 110 million (1810.04805 §3). Inference is not
# cheaper, and with adapters or prefixes a little dearer. Distillation makes inference cheaper,
# since the student is small: DistilBERT is 40 % smaller and 60 % faster than BERT-base and keeps 97
# % of its language understanding (1910.01108). But it takes a training of its own, with the
# teacher's answers.
#
# Limits: a student often does not agree with its teacher even where it could (2106.05945), and
# methods of PEFT may learn less than full fine-tuning (LoRA at the usual low ranks, on code and
# mathematics: 2405.09673).
# ### END SOLUTION

# %% [markdown]
# ## A short answer with its sources
#
# <details><summary>Open it when yours is written</summary>
#
# SFT says what is minimised: the cross-entropy on labelled pairs, such as the demonstrations that
# are the first stage of InstructGPT (2203.02155). PEFT says which parameters move: few, of or
# beside a frozen base. Adapters train small layers (1902.00751), prefixes trained keys and values
# (2101.00190), BitFit the biases (2106.10199), (IA)³ rescaling vectors (2205.05638), LoRA low-rank
# updates (2106.09685). The two combine.
#
# Distillation says where targets come from: a student learns a teacher's outputs, softened by a
# temperature, with the soft term multiplied by T² (1503.02531 §2). Hidden layers can serve as hints
# (1412.6550), and for sequences there are the teacher's own outputs (1606.07947) and the student's
# own, judged by the teacher (2306.13649), also by the reverse KL (2306.08543).
#
# PEFT saves training memory and storage, and the base stays as large as it was; what can be merged
# adds no latency (2106.09685 §4.1). Distillation gives a smaller model: DistilBERT is 40 % smaller
# and 60 % faster than BERT-base, and keeps 97 % of its language understanding (1910.01108).
#
# Two things are no laws: that a student agrees with its teacher (often it does so less than one
# would think, optimisation being a key reason, 2106.05945), and that it stays behind it
# (1805.04770).
#
# </details>

# %% [markdown]
# ## Facts to carry into the interview (1): PEFT and SFT
#
# 1. PEFT is parameter-efficient fine-tuning: a frozen base, few trained parameters — definition.
# 2. SFT is a choice of objective, PEFT one of parameters: SFT with PEFT is no contradiction —
#    definition.
# 3. Bottleneck adapters came within 0.4 % (the proceedings say 0.8 %) of full fine-tuning on GLUE
#    with 3.6 % of the parameters a task — 1902.00751 abstract.
# 4. Prefix tuning trains prefixes in all layers, 0.1 % of the parameters, and did better than full
#    fine-tuning in generating text with little data — 2101.00190 abstract; peft prefix tuning page.
# 5. Prompt tuning trains embeddings at the input only; it closes the gap to full tuning as models
#    exceed billions of parameters — 2104.08691 abstract.
# 6. BitFit trains the biases; on small to medium data it competes with full fine-tuning of BERT —
#    2106.10199 abstract.
# 7. (IA)³ rescales keys, values and the hidden layer of the feed-forward part by learned vectors,
#    which can be merged — 2205.05638; peft IA3 page.
# 8. In a layer of BERT-base: 99,904 parameters for two adapters of size 32, 15,360 for a prefix of
#    10, 8,448 biases, 4,608 for (IA)³; at the input 7,680 for a prompt of 10 — counting.
# 9. At the usual low ranks LoRA learned less than full fine-tuning on code and mathematics, and
#    forgot less — 2405.09673 abstract.
# 10. Training few parameters makes neither the base smaller nor its forward pass cheaper —
#     counting.

# %% [markdown]
# ## Facts to carry into the interview (2): distillation
#
# 11. Soft targets are softmax(v / T) at the same T for both; the student is used at T = 1 —
#     1503.02531 §2.
# 12. Gradients of the soft term scale as 1/T², so it is multiplied by T²; the ordinary term got a
#     considerably lower weight — 1503.02531 §2.
# 13. With T large against the logits, and these of mean zero, it comes close to matching logits —
#     1503.02531 §2.1.
# 14. On MNIST a net of two layers of 800 units made 146 errors by itself, unregularised, and 74
#     with the soft targets (T = 20) of a larger, regularised one that made 67 — 1503.02531 §3.
# 15. In `F.kl_div` the student's log-probabilities come first; "batchmean" is the divergence, the
#     default "mean" is not — PyTorch `nn.KLDivLoss`.
# 16. FitNets: a student deeper and thinner than its teacher, with hidden layers as hints and
#     additional parameters that map one to the other — 1412.6550 abstract.
# 17. DistilBERT was distilled in pretraining, with a triple loss (language modelling, distillation,
#     cosine): 40 % smaller and 60 % faster than BERT-base, with 97 % of its language understanding
#     — 1910.01108 abstract.
# 18. For translation, sequence-level distillation trains on the teacher's outputs; the best student
#     ran 10 times faster with little loss — 1606.07947.
# 19. On-policy distillation trains on the student's own outputs, against the mismatch between what
#     it sees in training and what it generates — 2306.13649 abstract.
# 20. MiniLLM takes the reverse KL, so that the student does not overestimate what the teacher finds
#     improbable — 2306.08543 abstract.
# 21. Born-again networks, of the teacher's own size, did better than it — 1805.04770 abstract.
# 22. A student often does not match its teacher even where it could; closer agreement need not mean
#     better generalisation: report both — 2106.05945 abstract.

# %% [markdown]
# ## Follow-up questions (1)
#
# Answer aloud, then open.
#
# <details><summary>Is LoRA a kind of SFT?</summary>
#
# No, and no rival either. LoRA says which parameters train. With it one can minimise the loss of
# SFT, of preference learning or of distillation — definition.
#
# </details>
# <details><summary>Why learn from probabilities and not from the teacher's classes?</summary>
#
# The small ones say how classes resemble each other, and soft targets of high entropy carry more
# information an example, with less variance in the gradient. In the demonstration above the
# gain was small: most came from the images — 1503.02531 §1; measured in the demonstration.
#
# </details>
# <details><summary>What happens if you forget the factor T²?</summary>
#
# The soft term's gradient shrinks by T²: at T = 4 it counts a sixteenth, and the labels weigh more.
# It can look as if a high temperature did harm — 1503.02531 §2; algebra.
#
# </details>
# <details><summary>Is the student used at the temperature of its training?</summary>
#
# No, at T = 1. The class it names is the same at any finite T; its confidence is not —
# 1503.02531 §2; algebra.
#
# </details>

# %% [markdown]
# ## Follow-up questions (2)
#
# <details><summary>Forward or reverse KL?</summary>
#
# Forward is the classic one, and covers all that the teacher finds probable. MiniLLM argues for the
# reverse in generating text, so that the student does not overestimate what the teacher finds
# improbable. That one covers and the other chooses holds where the student can't represent the
# teacher; for language models, trained for long, both are reported to come to the same. So try both
# — 2306.08543 abstract; 2404.02657 abstract.
#
# </details>
# <details><summary>Teacher and student have different tokenisers. What now?</summary>
#
# Their distributions are over different vocabularies, so the KL position by position is undefined
# as it stands. Training on the teacher's text still works: that is sequence-level distillation —
# 1606.07947; algebra.
#
# </details>
# <details><summary>You have only the teacher's text, by an API. Is this distillation?</summary>
#
# Sequence-level distillation, and at the same time SFT on pairs that a model wrote: objective and
# origin of the targets are different questions — 1606.07947; definition.
#
# </details>

# %% [markdown]
# ## Follow-up questions (3)
#
# <details><summary>When may the teacher's outputs be cached, and when not?</summary>
#
# If an example looks the same in each epoch and the answers fit. Not with random augmentation, for
# then they belong to other images, and not on-policy, where the examples do not exist yet. For
# language models the full distribution soon is too large: in float16 a terabyte for only 10 million
# tokens and a vocabulary of 50,000. So one keeps the largest few, which is no longer the same
# target — counting; 2306.13649 abstract.
#
# </details>
# <details><summary>Must the teacher be in eval mode?</summary>
#
# Yes, as a rule: dropout would add noise to the targets, and batch-norm would take the batch's
# statistics and change its own — PyTorch `nn.Dropout`; PyTorch `nn.BatchNorm2d`.
#
# </details>
# <details><summary>Can a student do better than its teacher?</summary>
#
# Yes. Born-again networks did, at the teacher's size — 1805.04770 abstract.
#
# </details>
# <details><summary>How would you evaluate a distilled model?</summary>
#
# By accuracy and agreement with the teacher, beside the same student trained on labels alone and on
# the teacher's classes alone, over several seeds. And by latency and size beside the teacher, on
# the machine that will run it — 2106.05945 abstract; measured in the demonstration; definition.
#
# </details>

# %% [markdown]
# ## Follow-up questions (4)
#
# <details><summary>The student is worse than the same network trained on labels. Why?</summary>
#
# Look for: kl_div's arguments the wrong way round, its default reduction, no T², a teacher in train
# mode, a teacher that is bad on these inputs, inputs normalised for one of the two only. If it is
# none of these: a teacher can be too large for its student, and one stopped early may teach better
# — PyTorch `nn.KLDivLoss`; PyTorch `nn.Dropout`; 1910.01348 abstract.
#
# </details>
# <details><summary>A model of 7 B must run on a phone. PEFT or distillation?</summary>
#
# PEFT leaves 7 B parameters. A smaller model, distilled (or quantised, which is a third road), and
# then perhaps adapters on it for each task — counting; 1910.01108 abstract.
#
# </details>
# <details><summary>Fifty customers, one model each?</summary>
#
# PEFT: one base and fifty small files. Fifty distilled students are fifty models — counting.
#
# </details>
# <details><summary>Which layers do you match with hints if the depths differ?</summary>
#
# That is a choice. FitNets took the middle layer of each, and warn that a guided layer set too deep
# leaves the student little freedom; the projector settles the widths only — 1412.6550 §2.2.
#
# </details>
