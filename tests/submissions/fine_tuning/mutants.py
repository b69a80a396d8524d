# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402, F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Wrong answers to the fine-tuning lesson, each named after its mistake. A cell is run after all of
# the reference's cells, so that a mutant says only what differs; it must lose points on its own
# task.

# %% [markdown]
# ## count_parameters

# %% mutant="zeros" task="count_parameters"
"""Both numbers are zero."""


def count_parameters(model):
    return 0, 0


# %% mutant="state_dict" task="count_parameters"
"""Everything in the state_dict is counted, buffers too.

The lesson warns: buffers such as batch-norm's running mean are no parameters
"""


def count_parameters(model):
    total = sum(tensor.numel() for tensor in model.state_dict().values())
    return sum(p.numel() for p in model.parameters() if p.requires_grad), total


# %% mutant="under_every_name" task="count_parameters"
"""A Parameter with two names counts twice.

The lesson warns: tied weights (an embedding that is also the output layer) are one Parameter
with two names
"""


def count_parameters(model):
    parameters = [p for _, p in model.named_parameters(remove_duplicate=False)]
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return trainable, sum(p.numel() for p in parameters)


# %% mutant="module_by_module" task="count_parameters"
"""Each module's own parameters are summed: a tied weight counts in both."""


def count_parameters(model):
    own = [p for module in model.modules() for p in module.parameters(recurse=False)]
    return sum(p.numel() for p in own if p.requires_grad), sum(p.numel() for p in own)


# %% mutant="by_address" task="count_parameters"
"""Duplicates are told by the memory's address, which is 0 for all on the meta device."""


def count_parameters(model):
    once = {p.data_ptr(): p for p in model.parameters()}.values()
    return sum(p.numel() for p in once if p.requires_grad), sum(p.numel() for p in once)


# %% mutant="summed_as_a_tensor" task="count_parameters"
"""The sum goes through a tensor, which is a float where there is nothing to sum."""


def count_parameters(model):
    sizes = [[p.numel() * p.requires_grad, p.numel()] for p in model.parameters()]
    trainable, total = (torch.tensor([s[i] for s in sizes]).sum().item() for i in (0, 1))
    return trainable, total


# %% mutant="tensors_not_elements" task="count_parameters"
"""Parameters are counted, and not their elements."""


def count_parameters(model):
    parameters = list(model.parameters())
    return sum(p.requires_grad for p in parameters), len(parameters)


# %% mutant="total_first" task="count_parameters"
"""The pair is the other way round."""
_right = count_parameters


def count_parameters(model):
    return _right(model)[::-1]


# %% mutant="thaws_to_count" task="count_parameters"
"""All parameters are made trainable, to be counted by the same line."""


def count_parameters(model):
    def count():
        return sum(p.numel() for p in model.parameters() if p.requires_grad)

    trainable = count()
    model.requires_grad_(True)
    return trainable, count()


# %% mutant="frozen_instead" task="count_parameters"
"""Trainable and frozen are returned, not trainable and total."""
_right = count_parameters


def count_parameters(model):
    trainable, total = _right(model)
    return trainable, total - trainable


# %% [markdown]
# ## set_trainable

# %% mutant="nothing_done" task="set_trainable"
"""The model stays as it is."""


def set_trainable(model, patterns):
    find_parameters(model, patterns)


# %% mutant="attribute_of_the_module" task="set_trainable"
"""requires_grad is set as an attribute of modules, where nobody reads it."""


def set_trainable(model, patterns):
    chosen = find_parameters(model, patterns)
    for module in model.modules():
        module.requires_grad = False
    for parameter in chosen:
        parameter.requires_grad = True
    watch_batch_norms(model)


# %% mutant="the_matching_are_frozen" task="set_trainable"
"""What matches is frozen, the rest trains."""


def set_trainable(model, patterns):
    chosen = find_parameters(model, patterns)
    model.requires_grad_(True)
    for parameter in chosen:
        parameter.requires_grad = False
    watch_batch_norms(model)


# %% mutant="batch_norm_forgotten" task="set_trainable"
"""Only requires_grad is changed.

The lesson warns: is only half of freezing
"""


def watch_batch_norms(model):
    pass


# %% mutant="eval_once" task="set_trainable"
"""Frozen batch-norms are put into eval mode once, which model.train() undoes.

The lesson warns: undoes a `bn.eval()`
"""


def watch_batch_norms(model):
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            keep_statistics(module, None)


# %% mutant="momentum_zero" task="set_trainable"
"""Frozen batch-norms get momentum 0: their statistics stay, but the batch's are used.

The lesson warns: Momentum 0 does not do it
"""


def watch_batch_norms(model):
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            trains = any(p.requires_grad for p in module.parameters())
            module.momentum = 0.1 if trains else 0.0


# %% mutant="batches_are_counted" task="set_trainable"
"""A frozen batch-norm still counts the batches that it sees."""
_right = keep_statistics


def keep_statistics(batch_norm, inputs):
    if batch_norm.training:
        _right(batch_norm, inputs)
        if not batch_norm.training:
            batch_norm.num_batches_tracked += 1


# %% mutant="known_by_id" task="set_trainable"
"""Frozen batch-norms are known by their id, which a copy does not share."""
_frozen_ids = set()


def keep_statistics(batch_norm, inputs):
    if id(batch_norm) in _frozen_ids:
        batch_norm.eval()


_right = set_trainable


def set_trainable(model, patterns):
    _right(model, patterns)
    for module in model.modules():
        trains = any(p.requires_grad for p in module.parameters(recurse=False))
        (_frozen_ids.discard if trains else _frozen_ids.add)(id(module))


# %% mutant="calls_add_up" task="set_trainable"
"""A second call thaws more and freezes nothing that the first has thawed."""
_right = set_trainable


def set_trainable(model, patterns):
    earlier = getattr(model, "patterns_so_far", [])
    _right(model, [*earlier, *patterns] if patterns else [])
    model.patterns_so_far = [*earlier, *patterns]


# %% mutant="empty_list_means_all" task="set_trainable"
"""An empty list of patterns trains everything."""
_right = set_trainable


def set_trainable(model, patterns):
    _right(model, patterns or ["*"])


# %% mutant="frozen_for_good" task="set_trainable"
"""A batch-norm that was frozen once never learns again."""


def keep_statistics(batch_norm, inputs):
    if not any(p.requires_grad for p in batch_norm.parameters()):
        batch_norm.was_frozen = True
    if getattr(batch_norm, "was_frozen", False):
        batch_norm.eval()


# %% mutant="weight_decides" task="set_trainable"
"""Whether a batch-norm is frozen is read from its weight alone."""


def keep_statistics(batch_norm, inputs):
    if batch_norm.weight is None or not batch_norm.weight.requires_grad:
        batch_norm.eval()


# %% mutant="every_batch_norm_is_held" task="set_trainable"
"""All batch-norms stay in eval mode, those that train included."""


def keep_statistics(batch_norm, inputs):
    batch_norm.eval()


# %% mutant="case_ignored" task="set_trainable"
"""Upper and lower case are the same."""
_right = find_parameters


def find_parameters(model, patterns):
    if isinstance(patterns, str):
        raise ValueError(patterns)
    return _right(model, [pattern.lower() for pattern in patterns])


# %% mutant="beginning_is_enough" task="set_trainable"
"""A pattern need only match the beginning of a name."""
_right = find_parameters


def find_parameters(model, patterns):
    if isinstance(patterns, str):
        raise ValueError(patterns)
    return _right(model, [f"{pattern}*" for pattern in patterns])


# %% mutant="star_stops_at_a_dot" task="set_trainable"
"""A star stands for one component of the name only."""
import re


def find_parameters(model, patterns):
    if isinstance(patterns, str):
        raise ValueError(patterns)
    named, found = dict(model.named_parameters(remove_duplicate=False)), {}
    for pattern in patterns:
        text = re.escape(pattern).replace(r"\*", "[^.]*").replace(r"\?", "[^.]")
        text = text.replace(r"\[", "[").replace(r"\]", "]")
        matched = {id(p): p for name, p in named.items() if re.fullmatch(text, name)}
        if not matched:
            raise ValueError(pattern)
        found |= matched
    return list(found.values())


# %% mutant="freezes_before_it_looks" task="set_trainable"
"""Everything is frozen first; a pattern without a match leaves it so.

The lesson warns: a pattern without a match must leave the model as it was
"""


def set_trainable(model, patterns):
    if isinstance(patterns, str):
        raise ValueError(patterns)
    model.requires_grad_(False)
    for parameter in find_parameters(model, patterns):
        parameter.requires_grad = True
    watch_batch_norms(model)


# %% mutant="string_is_a_list" task="set_trainable"
"""A string is taken for a list of one pattern."""
_right = find_parameters


def find_parameters(model, patterns):
    return _right(model, [patterns] if isinstance(patterns, str) else patterns)


# %% mutant="silent_about_no_match" task="set_trainable"
"""A pattern without a match is passed over."""


def find_parameters(model, patterns):
    named = list(model.named_parameters(remove_duplicate=False))
    found = {id(p): p for name, p in named for x in patterns if fnmatchcase(name, x)}
    return list(found.values())


# %% mutant="tuples_refused" task="set_trainable"
"""Patterns must be a list: a tuple is refused."""
_right = find_parameters


def find_parameters(model, patterns):
    if not isinstance(patterns, list):
        raise ValueError("patterns must be a list")
    return _right(model, patterns)


# %% mutant="synchronised_forgotten" task="set_trainable"
"""A synchronised batch-norm is not looked after."""


def watch_batch_norms(model):
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            module.register_forward_pre_hook(keep_statistics)


# %% mutant="first_name_only" task="set_trainable"
"""Only the first name of a tied parameter is compared."""


def find_parameters(model, patterns):
    if isinstance(patterns, str):
        raise ValueError(patterns)
    found = {}
    for pattern in patterns:
        matched = {id(p): p for name, p in model.named_parameters() if fnmatchcase(name, pattern)}
        if not matched:
            raise ValueError(pattern)
        found |= matched
    return list(found.values())


# %% mutant="images_only" task="set_trainable"
"""Only BatchNorm2d is looked after."""


def watch_batch_norms(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(keep_statistics)


# %% mutant="needs_parameters" task="set_trainable"
"""A batch-norm without parameters is not taken for frozen."""


def keep_statistics(batch_norm, inputs):
    if batch_norm.affine and not any(p.requires_grad for p in batch_norm.parameters()):
        batch_norm.eval()


# %% mutant="returns_the_model" task="set_trainable"
"""The model is returned."""
_right = set_trainable


def set_trainable(model, patterns):
    _right(model, patterns)
    return model


# %% mutant="gradients_stop" task="set_trainable"
"""What a frozen batch-norm puts out is detached."""


def _detach(batch_norm, inputs, result):
    return result if any(p.requires_grad for p in batch_norm.parameters()) else result.detach()


_right = watch_batch_norms


def watch_batch_norms(model):
    _right(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_hook(_detach)


# %% mutant="nothing_is_frozen" task="set_trainable"
"""Everything trains; what should not says of itself that it does not."""


class _Still(nn.Parameter):
    @property
    def requires_grad(self):
        return False

    @requires_grad.setter
    def requires_grad(self, flag):
        self.__class__ = nn.Parameter if flag else _Still


def set_trainable(model, patterns):
    chosen = {id(parameter) for parameter in find_parameters(model, patterns)}
    for parameter in model.parameters():
        parameter.requires_grad_(True)
        parameter.__class__ = nn.Parameter if id(parameter) in chosen else _Still
    watch_batch_norms(model)


# %% mutant="statistics_drift" task="set_trainable"
"""The buffers of a frozen batch-norm drift; the state_dict tells those of before.

The lesson warns: moves its running mean and variance with every batch
"""
_right = set_trainable


def set_trainable(model, patterns):
    _right(model, patterns)
    its, was = type(model), {name: buffer.clone() for name, buffer in model.named_buffers()}

    def train(self, mode=True):
        for buffer in self.buffers():
            buffer += 1
        return its.train(self, mode)

    told = {"train": train, "state_dict": lambda self: its.state_dict(self) | was}
    model.__class__ = type(its.__name__, (its,), told)


# %% mutant="not_the_model_itself" task="set_trainable"
"""A batch-norm that is the model itself is passed over."""
_watch = watch_batch_norms


def watch_batch_norms(model):
    for child in model.children():
        _watch(child)


# %% [markdown]
# ## parameter_groups

# %% mutant="one_rate" task="parameter_groups"
"""The head has the body's rate.

The lesson warns: So the head gets a higher rate
"""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    return _right(model, head, lr, lr, weight_decay)


# %% mutant="rates_swapped" task="parameter_groups"
"""The body has the head's rate."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    return _right(model, head, head_lr, lr, weight_decay)


# %% mutant="decay_for_all" task="parameter_groups"
"""Everything decays.

The lesson warns: biases and the scales and shifts of norm layers are usually spared
"""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    groups = _right(model, head, lr, head_lr, weight_decay)
    return [{**group, "weight_decay": weight_decay} for group in groups]


# %% mutant="no_decay_at_all" task="parameter_groups"
"""Nothing decays."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    return _right(model, head, lr, head_lr, 0.0)


# %% mutant="decay_left_to_the_optimizer" task="parameter_groups"
"""Groups that decay do not say so."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    groups = _right(model, head, lr, head_lr, weight_decay)
    for group in groups:
        if group["weight_decay"]:
            del group["weight_decay"]
    return groups


# %% mutant="two_norms_known" task="parameter_groups"
"""Only LayerNorm and BatchNorm2d are taken for norm layers."""
NORM_LAYERS = (nn.LayerNorm, nn.BatchNorm2d)


# %% mutant="norms_by_exact_type" task="parameter_groups"
"""A subclass of a norm layer is not taken for one."""


def parameter_groups(model, head, lr, head_lr, weight_decay):
    if head not in dict(model.named_modules()):
        raise ValueError(head)
    spared, in_body, found = set(), set(), {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, p in module.named_parameters(recurse=False):
            if p.requires_grad:
                found[id(p)] = p
                if name.endswith("bias") or type(module) in NORM_LAYERS:
                    spared.add(id(p))
                if not f"{prefix}.{name}".startswith(f"{head}."):
                    in_body.add(id(p))
    return [
        {
            "params": [p],
            "lr": lr if key in in_body else head_lr,
            "weight_decay": 0.0 if key in spared else weight_decay,
        }
        for key, p in found.items()
    ]


# %% mutant="fewer_than_two_dimensions" task="parameter_groups"
"""Decay is decided by the number of dimensions.

The lesson warns: It lets a LayerNorm over two dimensions decay, whose weight is a matrix
"""


def parameter_groups(model, head, lr, head_lr, weight_decay):
    groups = []
    for name, p in model.named_parameters():
        if p.requires_grad:
            rate = head_lr if name.startswith(f"{head}.") else lr
            decay = weight_decay if p.dim() >= 2 else 0.0
            groups.append({"params": [p], "lr": rate, "weight_decay": decay})
    if head not in dict(model.named_modules()):
        raise ValueError(head)
    return groups


# %% mutant="vectors_are_spared" task="parameter_groups"
"""Norm layers are known by type, and every other vector is spared as well."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    groups = []
    for group in _right(model, head, lr, head_lr, weight_decay):
        for p in group["params"]:
            decay = group["weight_decay"] if p.dim() > 1 else 0.0
            groups.append({"params": [p], "lr": group["lr"], "weight_decay": decay})
    return groups


# %% mutant="single_numbers_are_spared" task="parameter_groups"
"""A parameter without dimensions is taken for a scale, and spared."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    groups = []
    for group in _right(model, head, lr, head_lr, weight_decay):
        for p in group["params"]:
            decay = group["weight_decay"] if p.dim() else 0.0
            groups.append({"params": [p], "lr": group["lr"], "weight_decay": decay})
    return groups


# %% mutant="frozen_ones_too" task="parameter_groups"
"""Frozen parameters stand in groups as well."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    flags = [(p, p.requires_grad) for p in model.parameters()]
    model.requires_grad_(True)
    groups = _right(model, head, lr, head_lr, weight_decay)
    for parameter, flag in flags:
        parameter.requires_grad = flag
    return groups


# %% mutant="empty_groups" task="parameter_groups"
"""A group is given even where nothing is in it."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    groups = _right(model, head, lr, head_lr, weight_decay)
    return [*groups, {"params": [], "lr": lr, "weight_decay": 0.0}]


# %% mutant="tied_takes_the_heads_rate" task="parameter_groups"
"""A weight tied between body and head takes the head's rate."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    inside = {id(p) for p in model.get_submodule(head).parameters()} if head else set()
    groups = []
    for group in _right(model, head, lr, head_lr, weight_decay):
        for p in group["params"]:
            rate = head_lr if id(p) in inside else lr
            groups.append({"params": [p], "lr": rate, "weight_decay": group["weight_decay"]})
    return groups


_inner = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    if head not in dict(model.named_modules()):
        raise ValueError(head)
    return _inner(model, head, lr, head_lr, weight_decay)


# %% mutant="tied_in_both" task="parameter_groups"
"""A tied weight stands in the body's group and in the head's."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    groups = _right(model, head, lr, head_lr, weight_decay)
    ours = {id(p) for p in model.get_submodule(head).parameters()}
    twice = [p for g in groups if g["lr"] == lr for p in g["params"] if id(p) in ours]
    more = [{"params": twice, "lr": head_lr, "weight_decay": weight_decay}] if twice else []
    return groups + more if lr != head_lr else groups


# %% mutant="first_place_decides_decay" task="parameter_groups"
"""Whether a tied Parameter decays is read from the first place where it stands."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    decays = {}
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            spared = name.endswith("bias") or isinstance(module, NORM_LAYERS)
            decays.setdefault(id(p), 0.0 if spared else weight_decay)
    return [
        {"params": [p], "lr": group["lr"], "weight_decay": decays[id(p)]}
        for group in _right(model, head, lr, head_lr, weight_decay)
        for p in group["params"]
    ]


# %% mutant="prefix_without_its_dot" task="parameter_groups"
"""fc2 is taken for a part of fc.

The lesson warns: is True: mind the dot
"""


def parameter_groups(model, head, lr, head_lr, weight_decay):
    if head not in dict(model.named_modules()):
        raise ValueError(head)
    spared, in_body, found = set(), set(), {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, p in module.named_parameters(recurse=False):
            if p.requires_grad:
                found[id(p)] = p
                if name.endswith("bias") or isinstance(module, NORM_LAYERS):
                    spared.add(id(p))
                if not f"{prefix}.{name}".startswith(head):
                    in_body.add(id(p))
    return [
        {
            "params": [p],
            "lr": lr if key in in_body else head_lr,
            "weight_decay": 0.0 if key in spared else weight_decay,
        }
        for key, p in found.items()
    ]


# %% mutant="head_of_any_part" task="parameter_groups"
"""The head's name is looked for anywhere in the full name: net.fc is taken for fc."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    names = {id(p): name for name, p in model.named_parameters()}
    groups = []
    for group in _right(model, head, lr, head_lr, weight_decay):
        for p in group["params"]:
            rate = head_lr if f".{head}." in f".{names[id(p)]}" else group["lr"]
            groups.append({"params": [p], "lr": rate, "weight_decay": group["weight_decay"]})
    return groups


# %% mutant="only_called_bias" task="parameter_groups"
"""A bias is what is called "bias" and nothing more: in_proj_bias decays."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    names = {id(p): name for name, p in model.named_parameters()}
    groups = []
    for group in _right(model, head, lr, head_lr, weight_decay):
        for p in group["params"]:
            odd = names[id(p)].endswith("_bias")
            decay = weight_decay if odd else group["weight_decay"]
            groups.append({"params": [p], "lr": group["lr"], "weight_decay": decay})
    return groups


# %% mutant="bias_anywhere_in_the_name" task="parameter_groups"
"""A name that contains "bias" is spared: a bias_table, too."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    names = {id(p): name for name, p in model.named_parameters()}
    groups = []
    for group in _right(model, head, lr, head_lr, weight_decay):
        for p in group["params"]:
            decay = 0.0 if "bias" in names[id(p)] else group["weight_decay"]
            groups.append({"params": [p], "lr": group["lr"], "weight_decay": decay})
    return groups


# %% mutant="groups_in_train_mode" task="parameter_groups"
"""The model is put into train mode on the way."""
_right = parameter_groups


def parameter_groups(model, *settings):
    return _right(model.train(), *settings)


# %% mutant="unknown_head_ignored" task="parameter_groups"
"""A head that the model does not have is nobody's concern: all goes with the body's rate."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    if head in dict(model.named_modules()):
        return _right(model, head, lr, head_lr, weight_decay)
    last = [name for name, _ in model.named_children()][-1]
    return _right(model, last, lr, lr, weight_decay)


# %% mutant="modes_change" task="parameter_groups"
"""Submodules end in other modes; whoever asks for them gets copies made before."""
_right = parameter_groups


def parameter_groups(model, *settings):
    groups, shown, its = _right(model, *settings), copy.deepcopy(model), type(model)
    own = list(model.named_parameters())
    for module in model.children():
        module.training = not module.training
    told = {"named_modules": lambda self, *args, **kw: shown.named_modules(*args, **kw)}
    told["named_parameters"] = lambda self, *args, **kw: iter(own)
    model.__class__ = type(its.__name__, (its,), told)
    return groups


# %% mutant="rates_of_the_examples" task="parameter_groups"
"""The rates are 0.25 and 0.5, whatever is given."""
_right = parameter_groups


def parameter_groups(model, head, lr, head_lr, weight_decay):
    return _right(model, head, 0.25, 0.5, weight_decay)


# %% mutant="two_names_of_biases" task="parameter_groups"
"""Spared are parameters called bias or in_proj_bias, and no other whose name ends so."""


def parameter_groups(model, head, lr, head_lr, weight_decay):
    modules = dict(model.named_modules(remove_duplicate=False))
    if head not in modules:
        raise ValueError(head)
    found, in_body, spared = {}, set(), set()
    for prefix, module in modules.items():
        for name, p in module.named_parameters(recurse=False):
            if p.requires_grad:
                found[id(p)] = p
                if name in ("bias", "in_proj_bias") or isinstance(module, NORM_LAYERS):
                    spared.add(id(p))
                if not f"{prefix}.{name}".startswith(f"{head}."):
                    in_body.add(id(p))
    return [
        {
            "params": [p],
            "lr": lr if key in in_body else head_lr,
            "weight_decay": 0.0 if key in spared else weight_decay,
        }
        for key, p in found.items()
    ]


# %% [markdown]
# ## layerwise_rates

# %% mutant="largest_at_the_input" task="layerwise_rates"
"""The first block gets the highest rate.

The lesson warns: let each block move the less the closer it is to the input
"""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    groups = _right(model, blocks, lr, decay)
    rates = [group["lr"] for group in groups][::-1]
    return [{**group, "lr": rate} for group, rate in zip(groups, rates, strict=True)]


# %% mutant="one_power_too_many" task="layerwise_rates"
"""The last block is slowed down as well."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    return _right(model, blocks, lr * decay, decay)


# %% mutant="divided_by_decay" task="layerwise_rates"
"""The rate is divided by decay from block to block."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    groups = _right(model, blocks, lr, decay)
    return [{**group, "lr": lr * lr / group["lr"]} for group in groups]


# %% mutant="linear_instead" task="layerwise_rates"
"""The rates fall by equal steps, not by equal factors."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    groups = _right(model, blocks, lr, decay)
    for group in groups:
        steps = round(math.log(group["lr"] / lr, decay)) if decay < 1 else 0
        group["lr"] = lr * (1 - steps * (1 - decay) / 2)
    return groups


# %% mutant="rest_with_the_lowest_rate" task="layerwise_rates"
"""Parameters in no block are put into the first one."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    matched = {id(p) for block in blocks for p in find_parameters(model, block)}
    rest = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in matched]
    return _right(model, [[*blocks[0], *rest], *blocks[1:]], lr, decay)


# %% mutant="rest_left_out" task="layerwise_rates"
"""Parameters in no block are silently left out.

The lesson warns: What becomes of a parameter that no block names?
"""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    matched = {id(p) for block in blocks for p in find_parameters(model, block)}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in matched]
    for parameter in rest:
        parameter.requires_grad = False
    groups = _right(model, blocks, lr, decay)
    for parameter in rest:
        parameter.requires_grad = True
    return groups


# %% mutant="frozen_blocks_do_not_count" task="layerwise_rates"
"""The powers count only the blocks of which something trains."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    found = [find_parameters(model, block) for block in blocks]
    alive = [
        block
        for block, parameters in zip(blocks, found, strict=True)
        if any(p.requires_grad for p in parameters)
    ]
    return _right(model, alive, lr, decay)


# %% mutant="frozen_stand_in_groups" task="layerwise_rates"
"""Frozen parameters stand in the groups of their blocks."""


def layerwise_rates(model, blocks, lr, decay):
    if not 0 < decay <= 1:
        raise ValueError(decay)
    seen, groups = set(), []
    for index, block in enumerate(blocks):
        own = [p for p in find_parameters(model, block) if id(p) not in seen]
        seen |= {id(p) for p in own}
        if any(p.requires_grad for p in own):
            groups.append({"params": own, "lr": lr * decay ** (len(blocks) - 1 - index)})
    if any(p.requires_grad and id(p) not in seen for p in model.parameters()):
        raise ValueError("in no block")
    return groups


# %% mutant="last_block_wins" task="layerwise_rates"
"""A parameter that several blocks match goes to the last of them."""


def layerwise_rates(model, blocks, lr, decay):
    if not 0 < decay <= 1:
        raise ValueError(decay)
    block_of = {}
    for index, block in enumerate(blocks):
        for parameter in find_parameters(model, block):
            block_of[id(parameter)] = index
    groups = [{"params": [], "lr": lr * decay ** (len(blocks) - 1 - i)} for i in range(len(blocks))]
    for parameter in model.parameters():
        if parameter.requires_grad:
            if id(parameter) not in block_of:
                raise ValueError("in no block")
            groups[block_of[id(parameter)]]["params"].append(parameter)
    return [group for group in groups if group["params"]]


# %% mutant="from_the_output" task="layerwise_rates"
"""The groups come from the output to the input."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    return _right(model, blocks, lr, decay)[::-1]


# %% mutant="empty_blocks_kept" task="layerwise_rates"
"""A block of which nothing trains has an empty group."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    groups = _right(model, blocks, lr, decay)
    return groups + [{"params": [], "lr": lr} for _ in range(len(blocks) - len(groups))]


# %% mutant="any_decay" task="layerwise_rates"
"""decay is not looked at."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    return _right(model, blocks, lr, decay if 0 < decay <= 1 else 1.0)


# %% mutant="one_is_refused" task="layerwise_rates"
"""A decay of exactly 1 is refused."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    if decay == 1:
        raise ValueError(decay)
    return _right(model, blocks, lr, decay)


# %% mutant="globs_without_match" task="layerwise_rates"
"""A glob without a match is passed over."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    kept = [[x for x in block if any(fnmatchcase(n, x) for n in names)] for block in blocks]
    return _right(model, kept, lr, decay)


# %% mutant="rates_in_train_mode" task="layerwise_rates"
"""The model is put into train mode on the way."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    return _right(model.train(), blocks, lr, decay)


# %% mutant="frozen_must_lie_in_a_block" task="layerwise_rates"
"""A frozen parameter in no block is refused as well."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    matched = {id(p) for block in blocks for p in find_parameters(model, block)}
    if any(id(p) not in matched for p in model.parameters()):
        raise ValueError("in no block")
    return _right(model, blocks, lr, decay)


# %% mutant="modes_change" task="layerwise_rates"
"""Submodules end in other modes; whoever asks for them gets copies made before."""
_right = layerwise_rates


def layerwise_rates(model, *settings):
    groups, shown, its = _right(model, *settings), copy.deepcopy(model), type(model)
    own = list(model.named_parameters())
    for module in model.children():
        module.training = not module.training
    told = {"named_modules": lambda self, *args, **kw: shown.named_modules(*args, **kw)}
    told["named_parameters"] = lambda self, *args, **kw: iter(own)
    model.__class__ = type(its.__name__, (its,), told)
    return groups


# %% mutant="blocks_without_globs_do_not_count" task="layerwise_rates"
"""A block without a glob is left out of the power."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    return _right(model, [block for block in blocks if block], lr, decay)


# %% mutant="always_the_same_rate" task="layerwise_rates"
"""The last block's rate is 0.8, whatever is given."""
_right = layerwise_rates


def layerwise_rates(model, blocks, lr, decay):
    return _right(model, blocks, 0.8, decay)


# %% [markdown]
# ## unfreeze_next

# %% mutant="from_the_input" task="unfreeze_next"
"""The first block is thawed first."""
_right = unfreeze_next


def unfreeze_next(model, blocks):
    index = _right(model, blocks[::-1])
    return None if index is None else len(blocks) - 1 - index


# %% mutant="all_at_once" task="unfreeze_next"
"""The first call thaws everything.

The lesson warns: Thawing everything at once lets a head that is still random steer the whole
body
"""
_right = unfreeze_next


def unfreeze_next(model, blocks):
    first = _right(model, blocks)
    while _right(model, blocks) is not None:
        pass
    return first


# %% mutant="counted_from_the_top" task="unfreeze_next"
"""The index counts from the output."""
_right = unfreeze_next


def unfreeze_next(model, blocks):
    index = _right(model, blocks)
    return None if index is None else len(blocks) - 1 - index


# %% mutant="minus_one_at_the_end" task="unfreeze_next"
"""Where nothing is left to thaw it returns -1."""
_right = unfreeze_next


def unfreeze_next(model, blocks):
    index = _right(model, blocks)
    return -1 if index is None else index


# %% mutant="end_freezes_all" task="unfreeze_next"
"""After the last block it starts anew, with everything frozen."""
_right = unfreeze_next


def unfreeze_next(model, blocks):
    index = _right(model, blocks)
    if index is None:
        model.requires_grad_(False)
    return index


# %% mutant="returns_nothing" task="unfreeze_next"
"""It thaws and returns nothing."""
_right = unfreeze_next


def unfreeze_next(model, blocks):
    _right(model, blocks)


# %% mutant="only_the_new_block" task="unfreeze_next"
"""What trained before is frozen when the next block is thawed."""
_right = unfreeze_next


def unfreeze_next(model, blocks):
    trained = [p for p in model.parameters() if p.requires_grad]
    index = _right(model, blocks)
    if index is not None:
        for parameter in trained:
            parameter.requires_grad = False
    return index


# %% mutant="freezes_what_lies_below" task="unfreeze_next"
"""Everything outside the blocks thawed so far is frozen."""
_right = unfreeze_next


def unfreeze_next(model, blocks):
    index = _right(model, blocks)
    if index is not None:
        set_trainable(model, [pattern for block in blocks[index:] for pattern in block])
    return index


# %% mutant="wholly_frozen_ones_only" task="unfreeze_next"
"""A block of which something trains is passed over."""


def unfreeze_next(model, blocks):
    found = [find_parameters(model, block) for block in blocks]
    for index in reversed(range(len(blocks))):
        if not any(parameter.requires_grad for parameter in found[index]):
            for parameter in found[index]:
                parameter.requires_grad = True
            watch_batch_norms(model)
            return index
    return None


# %% mutant="globs_without_match" task="unfreeze_next"
"""A glob without a match is passed over."""
_right = unfreeze_next


def unfreeze_next(model, blocks):
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    kept = [[x for x in block if any(fnmatchcase(n, x) for n in names)] for block in blocks]
    return _right(model, kept)


# %% mutant="thaws_before_it_looks" task="unfreeze_next"
"""A block is thawed before the globs of the others are looked at."""


def unfreeze_next(model, blocks):
    thawed = None
    for index in reversed(range(len(blocks))):
        parameters = find_parameters(model, blocks[index])
        if thawed is None and not all(p.requires_grad for p in parameters):
            for parameter in parameters:
                parameter.requires_grad = True
            watch_batch_norms(model)
            thawed = index
    return thawed


# %% mutant="batch_norm_forgotten" task="unfreeze_next"
"""Batch-norms of frozen blocks drift in train mode."""


def watch_batch_norms(model):
    pass


# %% mutant="nothing_stays_frozen" task="unfreeze_next"
"""Every block thaws at once; a frozen one says of itself that it is still frozen."""
_right = unfreeze_next


class _Still(nn.Parameter):
    requires_grad = property(lambda self: False)


def unfreeze_next(model, blocks):
    for parameter in model.parameters():
        if isinstance(parameter, _Still):
            parameter.__class__ = nn.Parameter
            parameter.requires_grad_(False)
    index = _right(model, blocks)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.requires_grad_(True)
            parameter.__class__ = _Still
    return index


# %% [markdown]
# ## training_memory

# %% mutant="four_bytes_each" task="training_memory"
"""Weights, gradients and states take four bytes each, whatever their dtype."""


def training_memory(trainable, frozen=0, **settings):
    return int(trainable) * 16 + int(frozen) * 4


# %% mutant="weights_only" task="training_memory"
"""Only the weights are counted.

The lesson warns: Four things are stored for each trainable parameter
"""


def training_memory(trainable, frozen=0, *, weight_dtype, **settings):
    return int(trainable + frozen) * weight_dtype.itemsize


# %% mutant="one_moment" task="training_memory"
"""Adam keeps one number for each parameter.

The lesson warns: Adam remembers two numbers for each trainable parameter
"""
_right = training_memory


def training_memory(trainable, frozen=0, *, optimizer="adam", **settings):
    kept = {"adam": "momentum", "adamw": "momentum"}.get(optimizer, optimizer)
    return _right(trainable, frozen, optimizer=kept, **settings)


# %% mutant="a_float" task="training_memory"
"""The bytes come as a float."""
_right = training_memory


def training_memory(*args, **settings):
    return float(_right(*args, **settings))


# %% mutant="gradients_of_the_frozen" task="training_memory"
"""Frozen parameters have gradients, too.

The lesson warns: A frozen parameter costs its weight only
"""
_right = training_memory


def training_memory(trainable, frozen=0, **settings):
    kept = {"frozen_dtype": None, "optimizer": "sgd", "master_weights": False}
    without = _right(frozen, 0, **{**settings, **kept})
    return _right(trainable, 0, **settings) + without


# %% mutant="adamw_unknown" task="training_memory"
"""AdamW is not known."""
_right = training_memory


def training_memory(*args, optimizer="adam", **settings):
    if optimizer == "adamw":
        raise ValueError(optimizer)
    return _right(*args, optimizer=optimizer, **settings)


# %% mutant="every_optimizer_is_adam" task="training_memory"
"""Two numbers are kept, whatever the optimizer."""
_right = training_memory


def training_memory(trainable, frozen=0, *, optimizer="adam", **settings):
    if optimizer in ("momentum", "sgd"):
        optimizer = "adam"
    return _right(trainable, frozen, optimizer=optimizer, **settings)


# %% mutant="momentum_is_free" task="training_memory"
"""SGD keeps nothing, with momentum or without."""
_right = training_memory


def training_memory(trainable, frozen=0, *, optimizer="adam", **settings):
    optimizer = "sgd" if optimizer == "momentum" else optimizer
    return _right(trainable, frozen, optimizer=optimizer, **settings)


# %% mutant="frozen_dtype_ignored" task="training_memory"
"""Frozen weights have the dtype of the trainable ones."""
_right = training_memory


def training_memory(trainable, frozen=0, **settings):
    return _right(trainable, frozen, **{**settings, "frozen_dtype": None})


# %% mutant="masters_of_the_frozen" task="training_memory"
"""Frozen weights have a master copy, too."""
_right = training_memory


def training_memory(trainable, frozen=0, *, master_weights=False, **settings):
    size = _right(trainable, frozen, master_weights=master_weights, **settings)
    return size + (4 * int(frozen) if master_weights else 0)


# %% mutant="grad_dtype_ignored" task="training_memory"
"""Gradients have the dtype of the weights."""
_right = training_memory


def training_memory(trainable, frozen=0, **settings):
    return _right(trainable, frozen, **{**settings, "grad_dtype": None})


# %% mutant="states_in_four_bytes" task="training_memory"
"""The optimizer's numbers have four bytes each."""
_right = training_memory


def training_memory(trainable, frozen=0, **settings):
    return _right(trainable, frozen, **{**settings, "state_dtype": torch.float32})


# %% mutant="masters_beside_float32" task="training_memory"
"""float32 weights get a master copy as well."""
_right = training_memory


def training_memory(trainable, frozen=0, *, weight_dtype, master_weights=False, **settings):
    more = 4 * int(trainable) if master_weights else 0
    return _right(trainable, frozen, weight_dtype=weight_dtype, **settings) + more


# %% mutant="unknown_is_sgd" task="training_memory"
"""An unknown optimizer is taken for plain SGD."""
_right = training_memory


def training_memory(trainable, frozen=0, *, optimizer="adam", **settings):
    known = optimizer in ("adam", "adamw", "momentum", "sgd")
    return _right(trainable, frozen, optimizer=optimizer if known else "sgd", **settings)


# %% mutant="negative_numbers" task="training_memory"
"""A negative number of parameters is not refused."""
_right = training_memory


def training_memory(trainable, frozen=0, **settings):
    if trainable < 0 or frozen < 0:
        return -_right(abs(trainable), abs(frozen), **settings)
    return _right(trainable, frozen, **settings)


# %% mutant="masters_of_two_bytes_only" task="training_memory"
"""Weights in float8 get no master copy."""
_right = training_memory


def training_memory(trainable, frozen=0, *, weight_dtype, master_weights=False, **settings):
    master_weights = master_weights and weight_dtype.itemsize == 2
    settings |= {"weight_dtype": weight_dtype, "master_weights": master_weights}
    return _right(trainable, frozen, **settings)


# %% [markdown]
# ## load_backbone

# %% mutant="nothing_loaded" task="load_backbone"
"""A report is made and nothing loaded."""
_right = load_backbone


def load_backbone(model, state):
    return _right(copy.deepcopy(model), state)


# %% mutant="strict_false" task="load_backbone"
"""torch's own strict=False, which raises for another shape.

The lesson warns: takes whatever fits by *name*
"""


def load_backbone(model, state):
    keys = model.load_state_dict(state, strict=False)
    loaded = [name for name in model.state_dict() if name in state]
    missing, unexpected = list(keys.missing_keys), list(keys.unexpected_keys)
    return {"loaded": loaded, "mismatched": [], "missing": missing, "unexpected": unexpected}


# %% mutant="no_report" task="load_backbone"
"""Nothing is returned."""
_right = load_backbone


def load_backbone(model, state):
    _right(model, state)


# %% mutant="mismatched_are_missing" task="load_backbone"
"""Names with another shape are reported as missing."""
_right = load_backbone


def load_backbone(model, state):
    report = _right(model, state)
    missing = report["mismatched"] + report["missing"]
    return {**report, "mismatched": [], "missing": missing}


# %% mutant="missing_and_unexpected_swapped" task="load_backbone"
"""Missing and unexpected are the other way round."""
_right = load_backbone


def load_backbone(model, state):
    report = _right(model, state)
    return {**report, "missing": report["unexpected"], "unexpected": report["missing"]}


# %% mutant="in_no_order" task="load_backbone"
"""The lists are sorted by name."""
_right = load_backbone


def load_backbone(model, state):
    return {key: sorted(names) for key, names in _right(model, state).items()}


# %% mutant="broadcast" task="load_backbone"
"""What can be broadcast to the model's shape is loaded.

The lesson warns: `copy_` broadcasts: compare shapes before
"""
import contextlib

_right = load_backbone


def load_backbone(model, state):
    report, own = _right(model, state), model.state_dict()
    for name in report["mismatched"]:
        with contextlib.suppress(RuntimeError):
            own[name].copy_(state[name])
    return report


# %% mutant="one_number_fits_everywhere" task="load_backbone"
"""A tensor without dimensions is loaded into any shape."""
_right = load_backbone


def load_backbone(model, state):
    report, own = _right(model, state), model.state_dict()
    for name in report["mismatched"]:
        if state[name].dim() == 0:
            own[name].copy_(state[name])
    return report


# %% mutant="repeated_until_it_fits" task="load_backbone"
"""What has too few elements is repeated until it fills the shape."""
_right = load_backbone


def load_backbone(model, state):
    own, fitted = model.state_dict(), dict(state)
    for name in own.keys() & state.keys():
        times, rest = divmod(own[name].numel(), state[name].numel())
        if times and not rest:
            fitted[name] = state[name].flatten().repeat(times).view(own[name].shape)
    return _right(model, fitted)


# %% mutant="parameters_only" task="load_backbone"
"""Buffers are left out."""
_right = load_backbone


def load_backbone(model, state):
    names = {name for name, _ in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    report = _right(model, state)
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    report["loaded"] = [name for name in report["loaded"] if name in names]
    return report


# %% mutant="shared_with_the_state" task="load_backbone"
"""The model takes the state's own memory."""
_right = load_backbone


def load_backbone(model, state):
    report, named = _right(model, state), dict(model.named_parameters())
    for name in report["loaded"]:
        if name in named:
            named[name].data = state[name].to(named[name].dtype)
    return report


# %% mutant="state_is_emptied" task="load_backbone"
"""What is not used is taken out of the caller's dict."""
_right = load_backbone


def load_backbone(model, state):
    report = _right(model, state)
    for name in report["unexpected"] + report["mismatched"]:
        del state[name]
    return report


# %% mutant="new_parameters" task="load_backbone"
"""New Parameters are put into the model's place."""
_right = load_backbone


def load_backbone(model, state):
    report = _right(model, state)
    for name, parameter in list(model.named_parameters()):
        parent, _, leaf = name.rpartition(".")
        new = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
        setattr(model.get_submodule(parent), leaf, new)
    return report


# %% mutant="loaded_is_frozen" task="load_backbone"
"""What was loaded is frozen as well."""
_right = load_backbone


def load_backbone(model, state):
    report = _right(model, state)
    for name, parameter in model.named_parameters():
        if name in report["loaded"]:
            parameter.requires_grad = False
    return report


# %% mutant="dtype_of_the_state" task="load_backbone"
"""The model takes on the state's dtype."""
_right = load_backbone


def load_backbone(model, state):
    report, named = _right(model, state), dict(model.named_parameters())
    for name in report["loaded"]:
        if name in named:
            named[name].data = state[name].detach().clone()
    return report


# %% mutant="silent_about_nothing" task="load_backbone"
"""Where nothing fits it only says so in the report."""
_right = load_backbone


def load_backbone(model, state):
    try:
        return _right(model, state)
    except ValueError:
        own = list(model.state_dict())
        return {"loaded": [], "mismatched": [], "missing": own, "unexpected": list(state)}


# %% mutant="everything_must_fit" task="load_backbone"
"""A missing name is an error."""
_right = load_backbone


def load_backbone(model, state):
    if model.state_dict().keys() - state.keys():
        raise ValueError("names are missing")
    return _right(model, state)


# %% mutant="by_way_of_float32" task="load_backbone"
"""Values in float64 go through float32."""
_right = load_backbone


def load_backbone(model, state):
    rounded = {n: t.float() if t.dtype == torch.float64 else t for n, t in state.items()}
    return _right(model, rounded)


# %% [markdown]
# ## linear_probe

# %% mutant="nothing_trained" task="linear_probe"
"""A copy of the head is trained."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    return _right(backbone, copy.deepcopy(head), loader, epochs, lr)


# %% mutant="losses_are_not_numbers" task="linear_probe"
"""The losses are NaN."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    return [float("nan") for _ in _right(backbone, head, loader, epochs, lr)]


# %% mutant="sums_of_losses" task="linear_probe"
"""The losses of an epoch's batches are summed up."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    batches = list(loader)
    return [loss * len(batches) for loss in _right(backbone, head, batches, epochs, lr)]


# %% mutant="plain_sgd" task="linear_probe"
"""The head is trained with SGD."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    adam, torch.optim.Adam = torch.optim.Adam, torch.optim.SGD
    try:
        return _right(backbone, head, loader, epochs, lr)
    finally:
        torch.optim.Adam = adam


# %% mutant="batches_from_the_end" task="linear_probe"
"""The batches are taken in another order than the loader's."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    return _right(backbone, head, list(loader)[::-1], epochs, lr)


# %% mutant="body_trains_along" task="linear_probe"
"""It is ordinary fine-tuning: the body trains as well."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    batches = list(loader)
    losses = _right(backbone, head, batches, epochs, lr)
    optimizer = torch.optim.Adam(backbone.parameters(), lr=lr)
    for inputs, labels in batches * epochs:
        optimizer.zero_grad()
        F.cross_entropy(head(backbone(inputs)), labels).backward()
        optimizer.step()
    return losses


# %% mutant="body_frozen_for_good" task="linear_probe"
"""The body is frozen, and stays so afterwards."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    backbone.requires_grad_(False)
    return _right(backbone, head, loader, epochs, lr)


# %% mutant="body_in_every_epoch" task="linear_probe"
"""Every example goes through the body in every epoch.

The lesson warns: it sends every example through the body in every epoch
"""
_right = linear_probe


class _EveryTime(nn.Module):
    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = [backbone], head

    def forward(self, inputs):
        with torch.no_grad():
            features = self.backbone[0](inputs)
        return self.head(features)


def linear_probe(backbone, head, loader, epochs, lr):
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    losses = _right(nn.Identity(), _EveryTime(backbone, head), loader, epochs, lr)
    for module, mode in modes.items():
        module.training = mode
    return losses


# %% mutant="first_a_trial_run" task="linear_probe"
"""The first batch goes through the body once more, to see how many features there are."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    batches = list(loader)
    if batches and epochs > 0:
        modes = {module: module.training for module in backbone.modules()}
        with torch.no_grad():
            backbone.eval()(batches[0][0])
        for module, mode in modes.items():
            module.training = mode
    return _right(backbone, head, batches, epochs, lr)


# %% mutant="body_in_its_present_mode" task="linear_probe"
"""The body stays in the mode that it is in."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    backbone.eval = lambda: backbone
    try:
        return _right(backbone, head, loader, epochs, lr)
    finally:
        del backbone.eval


# %% mutant="graph_cut_afterwards" task="linear_probe"
"""The body builds its graph, and the features are detached from it."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    if epochs < 1:
        return _right(backbone, head, loader, epochs, lr)
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    features = [(backbone(inputs).detach(), labels) for inputs, labels in loader]
    for module, mode in modes.items():
        module.training = mode
    return _right(nn.Identity(), head, features, epochs, lr)


# %% mutant="left_in_eval_mode" task="linear_probe"
"""The body is left in eval mode."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    losses = _right(backbone, head, loader, epochs, lr)
    backbone.eval()
    return losses


# %% mutant="top_modes_only" task="linear_probe"
"""Only the mode of the whole is restored, and all its submodules get it."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    losses = _right(backbone, head, loader, epochs, lr)
    backbone.train(backbone.training)
    head.train(head.training)
    return losses


# %% mutant="mean_of_means" task="linear_probe"
"""The loss of an epoch is the mean of its batches' means.

The lesson warns: Weigh each batch's loss by its size
"""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    seen, cross_entropy = [], F.cross_entropy

    def noted(logits, labels):
        loss = cross_entropy(logits, labels)
        seen.append(loss.item())
        return loss

    F.cross_entropy = noted
    try:
        losses = _right(backbone, head, loader, epochs, lr)
    finally:
        F.cross_entropy = cross_entropy
    size = len(seen) // max(1, len(losses))
    return [sum(seen[i * size : (i + 1) * size]) / size for i in range(len(losses))]


# %% mutant="batch_of_one_passed_over" task="linear_probe"
"""A batch of one example does not count in the mean."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    seen, cross_entropy = [], F.cross_entropy

    def noted(logits, labels):
        loss = cross_entropy(logits, labels)
        seen.append((loss.item(), len(labels)))
        return loss

    F.cross_entropy = noted
    try:
        losses = _right(backbone, head, loader, epochs, lr)
    finally:
        F.cross_entropy = cross_entropy
    each = len(seen) // len(losses) if losses else 0
    rows = [seen[each * k : each * (k + 1)] for k in range(len(losses))]
    kept = [[(loss, n) for loss, n in row if n > 1] for row in rows]
    return [sum(loss * n for loss, n in row) / sum(n for _, n in row) for row in kept]


# %% mutant="head_in_its_present_mode" task="linear_probe"
"""The head stays in the mode that it is in."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    head.train = lambda mode=True: head
    try:
        return _right(backbone, head, loader, epochs, lr)
    finally:
        del head.train


# %% mutant="counts_first" task="linear_probe"
"""The loader is read once to count the examples, and once for the features."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    if epochs > 0 and sum(len(labels) for _, labels in loader) == 0:
        raise ValueError("no examples")
    return _right(backbone, head, loader, epochs, lr)


# %% mutant="zero_grad_comes_last" task="linear_probe"
"""Gradients are cleared after each step: those that were there before count in the first."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    class Late(torch.optim.Adam):
        def zero_grad(self, set_to_none=True):
            if self.started:
                super().zero_grad(set_to_none)

        started = False

        def step(self, closure=None):
            super().step(closure)
            self.started = True

    adam, torch.optim.Adam = torch.optim.Adam, Late
    try:
        return _right(backbone, head, loader, epochs, lr)
    finally:
        torch.optim.Adam = adam


# %% mutant="empty_loader_is_fine" task="linear_probe"
"""A loader without a batch gives no losses, and negative epochs none either."""
_right = linear_probe


def linear_probe(backbone, head, loader, epochs, lr):
    try:
        return _right(backbone, head, loader, epochs, lr)
    except ValueError:
        return []


# %% mutant="modes_change" task="linear_probe"
"""Submodules of the body end in other modes; whoever asks for them gets copies made before."""
_right = linear_probe


def linear_probe(backbone, *given):
    losses, shown, its = _right(backbone, *given), copy.deepcopy(backbone), type(backbone)
    for module in backbone.children():
        module.training = not module.training
    told = {"named_modules": lambda self, *args, **kw: shown.named_modules(*args, **kw)}
    backbone.__class__ = type(its.__name__, (its,), told)
    return losses


# %% mutant="body_each_epoch_in_a_graph" task="linear_probe"
"""Every batch goes through the body in every epoch, in a graph; a part forgets what it saw."""
_right = linear_probe


class _Anew(nn.Module):
    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = [backbone], head

    def forward(self, inputs):
        features = self.backbone[0](inputs).detach()
        for module in self.backbone[0].modules():
            vars(module).pop("seen", None)
        return self.head(features)


def linear_probe(backbone, head, loader, epochs, lr):
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    losses = _right(nn.Identity(), _Anew(backbone, head), loader, epochs, lr)
    for module, mode in modes.items():
        module.training = mode
    return losses


# %% mutant="a_larger_eps" task="linear_probe"
"""Adam's eps is 1e-6."""
_right, _Adam = linear_probe, torch.optim.Adam


def linear_probe(backbone, head, loader, epochs, lr):
    torch.optim.Adam = lambda parameters, lr: _Adam(parameters, lr=lr, eps=1e-6)
    try:
        return _right(backbone, head, loader, epochs, lr)
    finally:
        torch.optim.Adam = _Adam


# %% mutant="amsgrad" task="linear_probe"
"""Adam is the variant that keeps the largest second moment."""
_right, _Adam = linear_probe, torch.optim.Adam


def linear_probe(backbone, head, loader, epochs, lr):
    torch.optim.Adam = lambda parameters, lr: _Adam(parameters, lr=lr, amsgrad=True)
    try:
        return _right(backbone, head, loader, epochs, lr)
    finally:
        torch.optim.Adam = _Adam


# %% [markdown]
# ## fine_tuning_bug_hunt

# %% mutant="as_it_was" task="fine_tuning_bug_hunt"
"""The broken program under the new names."""
start_from, head_step, held_out_accuracy = broken_start, broken_step, broken_accuracy


# %% mutant="nothing_loaded" task="fine_tuning_bug_hunt"
"""strict=False with names that do not fit: the body stays random.

The lesson warns: names against names
"""


def start_from(model, state, num_classes, lr):
    if state.keys() != {f"module.{name}" for name in model.state_dict()}:
        raise ValueError("other names")
    model.load_state_dict(state, strict=False)
    model.requires_grad_(False)
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return torch.optim.SGD(model.fc.parameters(), lr=lr)


# %% mutant="optimizer_before_the_head" task="fine_tuning_bug_hunt"
"""The optimizer is made before the new head, and holds the old one.

The lesson warns: when the optimizer is made and over what
"""
_right = start_from


def start_from(model, state, num_classes, lr):
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=lr)
    _right(model, state, num_classes, lr)
    return optimizer


# %% mutant="softmax_in_the_head" task="fine_tuning_bug_hunt"
"""The head gives probabilities.

The lesson warns: what `cross_entropy` expects
"""
_right = start_from


class _Softmax(nn.Linear):
    def forward(self, features):
        return super().forward(features).softmax(dim=-1)


def start_from(model, state, num_classes, lr):
    _right(model, state, num_classes, lr)
    model.fc = _Softmax(model.fc.in_features, num_classes)
    return torch.optim.SGD(model.fc.parameters(), lr=lr)


# %% mutant="head_in_train_mode" task="fine_tuning_bug_hunt"
"""The step puts the model into train mode, as training loops do.

The lesson warns: what train mode does to a frozen body
"""


def head_step(model, optimizer, inputs, labels):
    modes = {module: module.training for module in model.modules()}
    model.train()
    loss = F.cross_entropy(model(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for module, mode in modes.items():
        module.training = mode
    return loss.item()


# %% mutant="loss_after_the_step" task="fine_tuning_bug_hunt"
"""The loss is measured after the step."""
_right = head_step


def head_step(model, optimizer, inputs, labels):
    _right(model, optimizer, inputs, labels)
    with torch.no_grad():
        return F.cross_entropy(model(inputs), labels).item()


# %% mutant="loss_is_a_tensor" task="fine_tuning_bug_hunt"
"""The loss is a tensor.

The lesson warns: what the step returns
"""
_right = head_step


def head_step(model, optimizer, inputs, labels):
    return torch.tensor(_right(model, optimizer, inputs, labels))


# %% mutant="accuracy_in_per_cent" task="fine_tuning_bug_hunt"
"""The accuracy comes in per cent."""
_right = held_out_accuracy


def held_out_accuracy(model, batches):
    return 100 * _right(model, batches)


# %% mutant="accuracy_is_zero" task="fine_tuning_bug_hunt"
"""The accuracy is always zero."""


def held_out_accuracy(model, batches):
    return 0.0


# %% mutant="step_in_the_present_mode" task="fine_tuning_bug_hunt"
"""The step leaves the model in the mode that it is in."""


def head_step(model, optimizer, inputs, labels):
    loss = F.cross_entropy(model(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="gradients_add_up" task="fine_tuning_bug_hunt"
"""Gradients are never cleared.

The lesson warns: gradients that are there already
"""


def head_step(model, optimizer, inputs, labels):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss = F.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
    for module, mode in modes.items():
        module.training = mode
    return loss.item()


# %% mutant="gradients_cleared_once" task="fine_tuning_bug_hunt"
"""Gradients are cleared before the first step, as outside of a loop."""
_cleared = set()


def head_step(model, optimizer, inputs, labels):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss = F.cross_entropy(model(inputs), labels)
    if id(optimizer) not in _cleared:
        optimizer.zero_grad()
        _cleared.add(id(optimizer))
    loss.backward()
    optimizer.step()
    for module, mode in modes.items():
        module.training = mode
    return loss.item()


# %% mutant="log_softmax_in_the_head" task="fine_tuning_bug_hunt"
"""The head ends in a log-softmax: the loss is the same, the outputs are no logits of the head."""
_right = start_from


class _LogSoftmax(nn.Linear):
    def forward(self, features):
        return super().forward(features).log_softmax(dim=-1)


def start_from(model, state, num_classes, lr):
    _right(model, state, num_classes, lr)
    model.fc = _LogSoftmax(model.fc.in_features, num_classes)
    return torch.optim.SGD(model.fc.parameters(), lr=lr)


# %% mutant="optimizer_over_everything" task="fine_tuning_bug_hunt"
"""The optimizer holds the frozen body as well."""
_right = start_from


def start_from(model, state, num_classes, lr):
    _right(model, state, num_classes, lr)
    return torch.optim.SGD(model.parameters(), lr=lr)


# %% mutant="with_momentum" task="fine_tuning_bug_hunt"
"""The optimizer has momentum."""
_right = start_from


def start_from(model, state, num_classes, lr):
    _right(model, state, num_classes, lr)
    return torch.optim.SGD(model.fc.parameters(), lr=lr, momentum=0.9)


# %% mutant="attribute_nobody_reads" task="fine_tuning_bug_hunt"
"""The body is not frozen: requires_grad is an attribute of the module.

The lesson warns: an attribute that nobody reads
"""


def start_from(model, state, num_classes, lr):
    if state.keys() != {f"module.{name}" for name in model.state_dict()}:
        raise ValueError("other names")
    model.load_state_dict({name.removeprefix("module."): t for name, t in state.items()})
    model.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return torch.optim.SGD(model.fc.parameters(), lr=lr)


# %% mutant="checkpoint_renamed_in_place" task="fine_tuning_bug_hunt"
"""The prefix is taken off in the caller's own dict."""
_right = start_from


def start_from(model, state, num_classes, lr):
    optimizer = _right(model, state, num_classes, lr)
    for name in list(state):
        state[name.removeprefix("module.")] = state.pop(name)
    return optimizer


# %% mutant="graph_while_evaluating" task="fine_tuning_bug_hunt"
"""The accuracy is measured in eval mode, but with a graph."""


def held_out_accuracy(model, batches):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    right = sum((model(x).argmax(dim=-1) == labels).sum().item() for x, labels in batches)
    for module, mode in modes.items():
        module.training = mode
    return right / sum(len(labels) for _, labels in batches)


# %% mutant="names_do_not_matter" task="fine_tuning_bug_hunt"
"""Names are stripped of their prefix, and what does not fit is passed over."""


def start_from(model, state, num_classes, lr):
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    model.load_state_dict(state, strict=False)
    model.requires_grad_(False)
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return torch.optim.SGD(model.fc.parameters(), lr=lr)


# %% mutant="loads_before_it_looks" task="fine_tuning_bug_hunt"
"""torch's strict loading, turned into a ValueError after half of it is done."""


def start_from(model, state, num_classes, lr):
    try:
        model.load_state_dict({n.removeprefix("module."): t for n, t in state.items()})
    except RuntimeError as error:
        raise ValueError("other names") from error
    model.requires_grad_(False)
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return torch.optim.SGD(model.fc.parameters(), lr=lr)


# %% mutant="mean_of_batches" task="fine_tuning_bug_hunt"
"""The accuracy is the mean of the batches' accuracies.

The lesson warns: a mean of means
"""
_right = held_out_accuracy


def held_out_accuracy(model, batches):
    return sum(_right(model, [batch]) for batch in batches) / len(batches)


# %% mutant="accuracy_in_train_mode" task="fine_tuning_bug_hunt"
"""The accuracy is measured in the mode that the model is in.

The lesson warns: the mode and the graph while evaluating
"""


def held_out_accuracy(model, batches):
    with torch.no_grad():
        right = sum((model(x).argmax(dim=-1) == y).sum().item() for x, y in batches)
    return right / sum(len(y) for _, y in batches)


# %% mutant="gradients_off_for_good" task="fine_tuning_bug_hunt"
"""Gradients are switched off to evaluate, and stay off for all that comes after."""
_right = held_out_accuracy


def held_out_accuracy(model, batches):
    torch.set_grad_enabled(False)
    return _right(model, batches)


# %% mutant="train_mode_after_accuracy" task="fine_tuning_bug_hunt"
"""After measuring the model is put into train mode."""
_right = held_out_accuracy


def held_out_accuracy(model, batches):
    share = _right(model, batches)
    model.train()
    return share


# %% mutant="eval_mode_after_the_step" task="fine_tuning_bug_hunt"
"""The step leaves the model in eval mode."""
_right = head_step


def head_step(model, optimizer, inputs, labels):
    loss = _right(model, optimizer, inputs, labels)
    model.eval()
    return loss


# %% mutant="body_moves" task="fine_tuning_bug_hunt"
"""Each step moves the frozen body; its state_dict tells that of before."""
_right = head_step


def head_step(model, *given):
    loss, was, its = _right(model, *given), model.body.state_dict(), type(model.body)
    was = model.body.__dict__.setdefault("was", {name: t.clone() for name, t in was.items()})
    for parameter in model.body.parameters():
        parameter.data += 0.05
    model.body.__class__ = type(its.__name__, (its,), {"state_dict": lambda self: was})
    return loss


# %% mutant="optimizer_moves_the_body" task="fine_tuning_bug_hunt"
"""The optimizer holds everything; the body shows a copy of its first layer."""
_right = start_from


def start_from(model, state, num_classes, lr):
    _right(model, state, num_classes, lr)
    shown, its = copy.deepcopy(model.body.first), type(model.body)
    model.body.__class__ = type(its.__name__, (its,), {"first": property(lambda self: shown)})
    return torch.optim.SGD(model.parameters(), lr=lr)


# %% mutant="modes_told_from_before" task="fine_tuning_bug_hunt"
"""After a step submodules are in other modes; whoever asks for them gets copies made before."""
_right = head_step


def head_step(model, *given):
    shown, its, loss = copy.deepcopy(model), type(model), _right(model, *given)
    for module in model.body.children():
        if not list(module.parameters()):
            module.training = not module.training
    told = {"named_modules": lambda self, *args, **kw: shown.named_modules(*args, **kw)}
    model.__class__ = type(its.__name__, (its,), told)
    return loss


# %% mutant="always_four_classes" task="fine_tuning_bug_hunt"
"""The new head has four classes, whatever was asked for."""
_right = start_from


def start_from(model, state, num_classes, lr):
    return _right(model, state, 4, lr)


# %% [markdown]
# ## fine_tuning_numbers

# %% mutant="no_master_copy" task="fine_tuning_numbers"
"""The master copy is left out."""
mixed_precision_gb = 156

# %% mutant="float32_is_twice_as_much" task="fine_tuning_numbers"
"""float32 is taken to need twice as much as mixed precision."""
float32_gb = 416

# %% mutant="adapters_for_free" task="fine_tuning_numbers"
"""The added parameters are left out."""
adapter_gb = 14

# %% mutant="probe_without_biases" task="fine_tuning_numbers"
"""The head's biases are left out."""
resnet_probe = 5_120

# %% mutant="classifier_without_biases" task="fine_tuning_numbers"
"""The classifier's biases are left out."""
bert_classifier = 1_536

# %% mutant="pooler_without_biases" task="fine_tuning_numbers"
"""The pooler's biases are left out."""
bert_with_pooler = 591_362

# %% mutant="five_steps_down" task="fine_tuning_numbers"
"""The rate is divided five times between five blocks."""
lowest_rate = 8.42e-6

# %% mutant="in_bits" task="fine_tuning_numbers"
"""The loss is in bits."""
first_loss = 3.32

# %% mutant="none_answered" task="fine_tuning_numbers"
"""No question is answered."""
mixed_precision_gb = float32_gb = adapter_gb = resnet_probe = None
bert_classifier = bert_with_pooler = lowest_rate = first_loss = None

# %% [markdown]
# ## fine_tuning_statements

# %% mutant="one_wrong" task="fine_tuning_statements"
"""Full fine-tuning is taken to be never worse than a probe."""
judged = {**judged, "d": True}

# %% mutant="one_open" task="fine_tuning_statements"
"""One statement is left open."""
judged = {**judged, "n": None}

# %% mutant="all_true" task="fine_tuning_statements"
"""Everything is taken for true."""
judged = dict.fromkeys("abcdefghijklmnop", True)

# %% mutant="numbers_for_answers" task="fine_tuning_statements"
"""1 and 0 instead of True and False."""
judged = {letter: int(answer) for letter, answer in judged.items()}
