# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402, F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Wrong answers to the LoRA lesson, each named after its mistake. A cell is run after all of the
# reference's cells, so that a mutant says only what differs; it must lose points on its own task.

# %% [markdown]
# ## lora_forward

# %% mutant="zeros" task="lora_forward"
"""The output is all zeros."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return x.new_zeros(*x.shape[:-1], weight.shape[0])


# %% mutant="input_unchanged" task="lora_forward"
"""The input comes back as the output."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return x


# %% mutant="not_a_number" task="lora_forward"
"""The output is all NaN."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return x.new_full((*x.shape[:-1], weight.shape[0]), float("nan"))


# %% mutant="one_row_for_all" task="lora_forward"
"""One row is returned, right for the first and of a shape that broadcasts to the others."""
_right = lora_forward


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return _right(x, weight, lora_A, lora_B, lora_alpha, bias)[..., :1, :]


# %% mutant="always_equal" task="lora_forward"
"""The output is an object that claims to equal everything."""


class Agreeable:
    shape, dtype = (3, 4), torch.float32

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __bool__(self):
        return True


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return Agreeable()


# %% mutant="agreeable_tensor" task="lora_forward"
"""The output is a tensor subclass whose every comparison comes out equal."""


class AgreeableTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func.__name__ in ("eq", "__eq__", "isclose", "le", "isfinite"):
            return torch.ones((), dtype=torch.bool)
        return super().__torch_function__(func, types, args, kwargs or {})


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return torch.zeros(*x.shape[:-1], weight.shape[0]).as_subclass(AgreeableTensor)


# %% mutant="scaled_by_alpha_only" task="lora_forward"
"""The update is multiplied by lora_alpha, not lora_alpha / rank."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return F.linear(x, weight, bias) + lora_alpha * F.linear(F.linear(x, lora_A), lora_B)


# %% mutant="scaled_by_the_root_of_rank" task="lora_forward"
"""The scale is rsLoRA's, lora_alpha / √rank."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    scale = lora_alpha / lora_A.shape[0] ** 0.5
    return F.linear(x, weight, bias) + scale * F.linear(F.linear(x, lora_A), lora_B)


# %% mutant="update_of_the_output" task="lora_forward"
"""The low-rank matrices see the layer's output padded to size, as in the published program."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    y = F.linear(x, weight, bias)
    padded = F.pad(y, (0, max(0, weight.shape[1] - weight.shape[0])))[..., : weight.shape[1]]
    return y + (lora_alpha / lora_A.shape[0]) * F.linear(F.linear(padded, lora_A), lora_B)


# %% mutant="bias_forgotten" task="lora_forward"
"""The bias is left out."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    low = F.linear(x, lora_A) * (lora_alpha / lora_A.shape[0])
    return F.linear(x, weight) + F.linear(low, lora_B)


# %% mutant="bias_scaled" task="lora_forward"
"""The bias is added to the update before the scale."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    update = F.linear(F.linear(x, lora_A), lora_B, bias)
    return F.linear(x, weight) + (lora_alpha / lora_A.shape[0]) * update


# %% mutant="two_dimensions_only" task="lora_forward"
"""More than two dimensions are flattened to rows and not folded back."""
_right = lora_forward


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    rows = x.flatten(0, -2) if x.dim() > 2 else x
    return _right(rows, weight, lora_A, lora_B, lora_alpha, bias)


# %% mutant="a_vector_becomes_a_row" task="lora_forward"
"""A single vector comes back as a matrix of one row."""
_right = lora_forward


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return _right(torch.atleast_2d(x), weight, lora_A, lora_B, lora_alpha, bias)


# %% mutant="gradient_of_a_lost" task="lora_forward"
"""The inner product is detached: no gradient reaches lora_A."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    low = F.linear(x, lora_A.detach()) * (lora_alpha / lora_A.shape[0])
    return F.linear(x, weight, bias) + F.linear(low, lora_B)


# %% mutant="gradient_of_x_past_the_branch" task="lora_forward"
"""The branch sees a detached x: layers below get the base's gradient only."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    low = F.linear(x.detach(), lora_A) * (lora_alpha / lora_A.shape[0])
    return F.linear(x, weight, bias) + F.linear(low, lora_B)


# %% mutant="product_formed_first" task="lora_forward"
"""B·A is formed, and added to W.

The lesson warns: With a few rows of x and a large W one of them is several times slower
"""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return F.linear(x, weight + (lora_alpha / lora_A.shape[0]) * (lora_B @ lora_A), bias)


# %% mutant="product_formed_in_backward" task="lora_forward"
"""The forward is in two steps, but the gradient of x is taken through W + sBA."""


class FullBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, lora_A, lora_B, scale):
        ctx.save_for_backward(x, weight, lora_A, lora_B)
        ctx.scale = scale
        return x @ weight.T + scale * (x @ lora_A.T) @ lora_B.T

    @staticmethod
    def backward(ctx, upstream):
        x, weight, lora_A, lora_B = ctx.saved_tensors
        rows, rows_up = x.reshape(-1, x.shape[-1]), upstream.reshape(-1, upstream.shape[-1])
        grad_x = upstream @ (weight + ctx.scale * lora_B @ lora_A)
        grad_A = ctx.scale * (rows_up @ lora_B).T @ rows
        grad_B = ctx.scale * rows_up.T @ (rows @ lora_A.T)
        return grad_x, None, grad_A, grad_B, None


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    y = FullBackward.apply(x, weight, lora_A, lora_B, lora_alpha / lora_A.shape[0])
    return y if bias is None else y + bias


# %% mutant="computed_in_float32" task="lora_forward"
"""All is computed in float32 and cast back."""
_right = lora_forward


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    tensors = [t.float() for t in (x, weight, lora_A, lora_B)]
    bias = None if bias is None else bias.float()
    return _right(*tensors, lora_alpha, bias).to(x.dtype)


# %% mutant="half_comes_out_as_float" task="lora_forward"
"""Half precision comes out as float32."""
_right = lora_forward


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    y = _right(x, weight, lora_A, lora_B, lora_alpha, bias)
    return y.float() if y.dtype == torch.bfloat16 else y


# %% mutant="added_into_the_bias" task="lora_forward"
"""For a single vector the sum is made in the bias's own memory."""
_right = lora_forward


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    if x.dim() == 1 and bias is not None:
        return bias.data.add_(_right(x, weight, lora_A, lora_B, lora_alpha))
    return _right(x, weight, lora_A, lora_B, lora_alpha, bias)


# %% mutant="whole_division_of_ints" task="lora_forward"
"""An int as lora_alpha is divided by the rank, an int too, as ints are in other languages."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    rank = lora_A.shape[0]
    scale = lora_alpha // rank if type(lora_alpha) is int else lora_alpha / rank
    return F.linear(x, weight, bias) + F.linear(F.linear(x, lora_A) * scale, lora_B)


# %% mutant="whole_division" task="lora_forward"
"""The scale is lora_alpha // rank."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    low = F.linear(x, lora_A) * (lora_alpha // lora_A.shape[0])
    return F.linear(x, weight, bias) + F.linear(low, lora_B)


# %% mutant="product_in_scratch" task="lora_forward"
"""B·A is formed in full, in memory that is held before it is measured."""
_right, _scratch = lora_forward, torch.ones(4096, 4096)


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    if weight.shape == _scratch.shape:
        with torch.no_grad():
            torch.mm(lora_B, lora_A, out=_scratch)
    return _right(x, weight, lora_A, lora_B, lora_alpha, bias)


# %% [markdown]
# ## lora_linear

# %% mutant="linear_zeros" task="lora_linear"
"""The layer answers with zeros."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        return x.new_zeros(*x.shape[:-1], self.base.out_features)


# %% mutant="linear_input_unchanged" task="lora_linear"
"""The layer answers with its input."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        return x


# %% mutant="linear_not_a_number" task="lora_linear"
"""The layer answers with NaN."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        return super().forward(x) * float("nan")


# %% mutant="linear_one_row" task="lora_linear"
"""One row comes back, of a shape that broadcasts."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        return super().forward(x)[..., :1, :]


# %% mutant="linear_scaled_by_alpha_only" task="lora_linear"
"""The update is multiplied by lora_alpha, not lora_alpha / rank."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        return self.base(x) + self.lora_alpha * F.linear(F.linear(x, self.lora_A), self.lora_B)


# %% mutant="linear_whole_division" task="lora_linear"
"""The scale is lora_alpha // rank."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        self.lora_alpha = rank * (lora_alpha // rank)


# %% mutant="linear_matrices_transposed" task="lora_linear"
"""lora_A is kept as (in, rank) and lora_B as (rank, out)."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        self.lora_A = nn.Parameter(self.lora_A.detach().T.contiguous())
        self.lora_B = nn.Parameter(self.lora_B.detach().T.contiguous())

    def forward(self, x):
        update = self.dropout(x) @ self.lora_A @ self.lora_B
        return self.base(x) + self.lora_alpha / self.rank * update


# %% mutant="linear_both_at_random" task="lora_linear"
"""lora_B starts at random, too: training does not begin at the base.

The lesson warns: Both random, and the network starts somewhere else
"""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nn.init.normal_(self.lora_B)


# %% mutant="linear_base_not_frozen" task="lora_linear"
"""The base trains, too.

The lesson warns: the base is frozen, A and B train
"""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.base.requires_grad_(True)


# %% mutant="linear_bias_not_frozen" task="lora_linear"
"""The base's weight is frozen, its bias is not."""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.base.bias is not None:
            self.base.bias.requires_grad_(True)


# %% mutant="linear_plain_tensors" task="lora_linear"
"""lora_A and lora_B are plain tensors that no optimizer sees.

The lesson warns: a plain tensor attribute is not in there
"""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        tensors = self.lora_A.detach(), self.lora_B.detach()
        del self.lora_A, self.lora_B
        self.lora_A, self.lora_B = tensors


# %% mutant="linear_only_b_trains" task="lora_linear"
"""lora_A is a frozen random projection."""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.lora_A.requires_grad_(False)


# %% mutant="linear_a_detached" task="lora_linear"
"""The forward takes lora_A out of the graph: it is a Parameter that never moves."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        if self.kept_weight is not None:
            return self.base(x)
        low = F.linear(self.dropout(x), self.lora_A.detach()) * (self.lora_alpha / self.rank)
        return self.base(x) + F.linear(low, self.lora_B)


# %% mutant="linear_both_zero" task="lora_linear"
"""Both matrices start at zero: no gradient ever.

The lesson warns: Both zero, and it never leaves
"""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nn.init.zeros_(self.lora_A)


# %% mutant="linear_a_zero_b_random" task="lora_linear"
"""lora_A starts at zero and lora_B at random."""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nn.init.normal_(self.lora_B)
        nn.init.zeros_(self.lora_A)


# %% mutant="linear_a_of_ones" task="lora_linear"
"""All rows of lora_A start equal, so that the rank is 1 for good."""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nn.init.ones_(self.lora_A)


# %% mutant="linear_starts_alike" task="lora_linear"
"""Each lora_A starts at the same numbers, drawn from a seed of its own."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        fixed = torch.Generator().manual_seed(0)
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5), generator=fixed)


# %% mutant="linear_dropout_on_the_update" task="lora_linear"
"""Dropout acts on the branch's output.

The lesson warns: Dropout goes before A
"""


class LoRALinear(LoRALinear):
    def forward(self, x):
        update = F.linear(F.linear(x, self.lora_A), self.lora_B)
        return self.base(x) + self.lora_alpha / self.rank * self.dropout(update)


# %% mutant="linear_dropout_on_the_base" task="lora_linear"
"""Dropout acts on the base's input as well.

The lesson warns: leaves `self.base(x)` alone
"""


class LoRALinear(LoRALinear):
    def forward(self, x):
        x = self.dropout(x)
        low = F.linear(x, self.lora_A) * (self.lora_alpha / self.rank)
        return self.base(x) + F.linear(low, self.lora_B)


# %% mutant="linear_dropout_at_the_rank" task="lora_linear"
"""Dropout acts between A and B."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        low = self.dropout(F.linear(x, self.lora_A)) * (self.lora_alpha / self.rank)
        return self.base(x) + F.linear(low, self.lora_B)


# %% mutant="linear_no_dropout" task="lora_linear"
"""The argument dropout is ignored."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        self.dropout = nn.Identity()


# %% mutant="linear_dropout_not_rescaled" task="lora_linear"
"""What is kept is not scaled by 1 / (1 − p)."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        kept = x * (torch.rand_like(x) >= self.dropout.p) if self.training else x
        low = F.linear(kept, self.lora_A) * (self.lora_alpha / self.rank)
        return self.base(x) + F.linear(low, self.lora_B)


# %% mutant="linear_dropout_keeps_p" task="lora_linear"
"""dropout is taken for the probability to keep an input."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        if dropout:
            self.dropout = nn.Dropout(1 - dropout)


# %% mutant="linear_one_mask_for_all_rows" task="lora_linear"
"""One dropout mask is drawn for all rows: it has the features' shape alone."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        mask = self.dropout(x.new_ones(x.shape[-1]))
        low = F.linear(x * mask, self.lora_A) * (self.lora_alpha / self.rank)
        return self.base(x) + F.linear(low, self.lora_B)


# %% mutant="linear_dropout_in_eval_mode" task="lora_linear"
"""F.dropout without its argument `training` drops in eval mode, too."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        low = F.linear(F.dropout(x, self.dropout.p), self.lora_A) * (self.lora_alpha / self.rank)
        return self.base(x) + F.linear(low, self.lora_B)


# %% mutant="linear_dropout_that_train_switches_on" task="lora_linear"
"""train() switches dropout on whatever its argument, so that after train(False) it acts, too."""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.drops = self.training

    def train(self, mode=True):
        super().train(mode)
        self.drops = True
        return self

    def forward(self, x):
        dropped = F.dropout(x, self.dropout.p, self.drops)
        low = F.linear(dropped, self.lora_A) * (self.lora_alpha / self.rank)
        return self.base(x) + F.linear(low, self.lora_B)


# %% mutant="linear_matrices_in_float32" task="lora_linear"
"""lora_A and lora_B are float32 whatever the base is, and cast in the forward.

The lesson warns: takes dtype and device from the base
"""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.lora_A = nn.Parameter(self.lora_A.detach().float())
        self.lora_B = nn.Parameter(self.lora_B.detach().float())

    def forward(self, x):
        low = F.linear(self.dropout(x), self.lora_A.to(x.dtype))
        low = low * (self.lora_alpha / self.rank)
        return self.base(x) + F.linear(low, self.lora_B.to(x.dtype))


# %% mutant="linear_matrices_on_the_cpu" task="lora_linear"
"""lora_A and lora_B are made on the CPU, wherever the base is."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        dtype = base.weight.dtype
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features, dtype=dtype))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, dtype=dtype))


# %% mutant="linear_b_in_the_default_dtype" task="lora_linear"
"""lora_B is made without the base's dtype."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        low = F.linear(self.dropout(x), self.lora_A) * (self.lora_alpha / self.rank)
        return self.base(x) + F.linear(low, self.lora_B.to(x.dtype))


# %% mutant="linear_rank_not_checked" task="lora_linear"
"""A rank of 0 is accepted."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank if rank else 1, lora_alpha, dropout)


# %% mutant="linear_rank_one_refused" task="lora_linear"
"""The bound is drawn one too high: a rank of 1 is refused."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        if rank == 1:
            raise ValueError("rank must be at least 2")
        super().__init__(base, rank, lora_alpha, dropout)


# %% mutant="linear_a_never_filled" task="lora_linear"
"""lora_A is whatever the memory held before."""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.lora_A = nn.Parameter(torch.empty_like(self.lora_A))


# %% mutant="linear_whole_float_is_a_rank" task="lora_linear"
"""A rank of 2.0 is taken as 2."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        whole = isinstance(rank, float) and rank.is_integer()
        super().__init__(base, int(rank) if whole else rank, lora_alpha, dropout)


# %% mutant="linear_true_is_a_rank" task="lora_linear"
"""isinstance(True, int) holds, so True passes for a rank."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, 1 if rank is True else rank, lora_alpha, dropout)


# %% mutant="linear_type_error_for_a_bad_base" task="lora_linear"
"""A base that is no nn.Linear is a TypeError."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        if not isinstance(base, nn.Linear):
            raise TypeError("base must be an nn.Linear")
        super().__init__(base, rank, lora_alpha, dropout)


# %% mutant="linear_full_dropout" task="lora_linear"
"""A dropout of 1 is accepted."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, 0.0 if dropout == 1 else dropout)


# %% mutant="linear_always_in_train_mode" task="lora_linear"
"""The new layer is in train mode, whatever its base is in."""


class LoRALinear(LoRALinear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.train()


# %% mutant="linear_base_copied" task="lora_linear"
"""The base is a copy."""


class LoRALinear(LoRALinear):
    def __init__(self, base, *args, **kwargs):
        super().__init__(
            copy.deepcopy(base) if isinstance(base, nn.Linear) else base, *args, **kwargs
        )


# %% mutant="linear_rank_at_most_the_width" task="lora_linear"
"""A rank above min(in, out) is refused."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        if rank > min(base.in_features, base.out_features):
            raise ValueError("the rank exceeds the layer's")


# %% mutant="linear_base_must_have_a_bias" task="lora_linear"
"""The base is written out as a product and a bias, which it need not have."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        if self.kept_weight is not None:
            return self.base(x)
        low = F.linear(self.dropout(x), self.lora_A) * (self.lora_alpha / self.rank)
        return x @ self.base.weight.T + self.base.bias + F.linear(low, self.lora_B)


# %% mutant="linear_no_subclass" task="lora_linear"
"""A base of a subclass of nn.Linear is refused."""


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        if type(base) is not nn.Linear:
            raise ValueError("base must be an nn.Linear")
        super().__init__(base, rank, lora_alpha, dropout)


# %% mutant="linear_rows_only" task="lora_linear"
"""The branch is an addmm, which takes rows of a matrix only."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        low = torch.mm(self.dropout(x), self.lora_A.T) * (self.lora_alpha / self.rank)
        return torch.addmm(self.base(x), low, self.lora_B.T)


# %% mutant="base_trains" task="lora_linear"
"""The base trains; its parameters say that they do not."""


class _Still(nn.Parameter):
    requires_grad = property(lambda self: False, lambda self, flag: None)


_init = LoRALinear.__init__


def _start(self, base, *given, **kw):
    _init(self, base, *given, **kw)
    for parameter in base.requires_grad_(True).parameters():
        parameter.__class__ = _Still


LoRALinear.__init__ = _start


# %% mutant="matrices_tell_of_meta" task="lora_linear"
"""The matrices lie on the CPU, and tell the device of the base's weight."""
_init = LoRALinear.__init__


class _OnMeta(nn.Parameter):
    device = property(lambda self: torch.device("meta"))


def _start(self, base, *given, **kw):
    _init(self, base, *given, **kw)
    for name in ("lora_A", "lora_B"):
        if getattr(self, name).is_meta:
            setattr(self, name, nn.Parameter(torch.ones(getattr(self, name).shape)))
            getattr(self, name).__class__ = _OnMeta


LoRALinear.__init__ = _start


# %% [markdown]
# ## lora_conv2d

# %% mutant="conv_zeros" task="lora_conv2d"
"""The layer answers with zeros."""


class LoRAConv2d(LoRAConv2d):
    def forward(self, x):
        return torch.zeros_like(super().forward(x))


# %% mutant="conv_input_unchanged" task="lora_conv2d"
"""The layer answers with its input."""


class LoRAConv2d(LoRAConv2d):
    def forward(self, x):
        return x


# %% mutant="conv_not_a_number" task="lora_conv2d"
"""The layer answers with NaN."""


class LoRAConv2d(LoRAConv2d):
    def forward(self, x):
        return super().forward(x) * float("nan")


# %% mutant="conv_one_image" task="lora_conv2d"
"""The first image's output comes back, of a shape that broadcasts."""


class LoRAConv2d(LoRAConv2d):
    def forward(self, x):
        return super().forward(x)[:1]


# %% mutant="conv_scaled_by_alpha_only" task="lora_conv2d"
"""The update is multiplied by lora_alpha, in forward and merge alike."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        self.lora_alpha = lora_alpha * rank


# %% mutant="conv_whole_division" task="lora_conv2d"
"""The scale is lora_alpha // rank."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        self.lora_alpha = rank * (lora_alpha // rank)


# %% mutant="conv_in_loralibs_form" task="lora_conv2d"
"""The parametrisation is loralib's: one product of (r·k, in·k) and (out·k, r·k).

The lesson warns: Ours is the second
"""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        k = base.kernel_size[0]
        self.lora_A = nn.Parameter(torch.randn(rank * k, base.in_channels * k))
        self.lora_B = nn.Parameter(torch.zeros(base.out_channels * k, rank * k))


# %% mutant="conv_one_stride_for_both" task="lora_conv2d"
"""The branch takes the stride of the rows for the columns, too."""


class LoRAConv2d(LoRAConv2d):
    def forward(self, x):
        other = copy.copy(self.base)
        other.stride = (self.base.stride[0], self.base.stride[0])
        low = other._conv_forward(x, self.lora_A, None) * (self.lora_alpha / self.rank)
        return self.base(x) + F.conv2d(low, self.lora_B)


# %% mutant="conv_stride_behind_a" task="lora_conv2d"
"""The stride is put to the 1×1 convolution, without the padding's share of it."""


class LoRAConv2d(LoRAConv2d):
    def forward(self, x):
        if self.base.stride == (1, 1) or isinstance(self.base.padding, str):
            return super().forward(x)
        low = F.conv2d(x, self.lora_A, padding=self.base.padding[::-1], dilation=self.base.dilation)
        low = low * (self.lora_alpha / self.rank)
        return self.base(x) + F.conv2d(low, self.lora_B, stride=self.base.stride)


# %% mutant="conv_dilation_ignored" task="lora_conv2d"
"""The branch is not dilated: peft 0.21's fault."""


class LoRAConv2d(LoRAConv2d):
    def forward(self, x):
        other = copy.copy(self.base)
        other.dilation = (1, 1)
        low = other._conv_forward(x, self.lora_A, None) * (self.lora_alpha / self.rank)
        return self.base(x) + F.conv2d(low, self.lora_B)


# %% mutant="conv_padding_mode_ignored" task="lora_conv2d"
"""The branch pads with zeros, whatever its base pads with."""


class LoRAConv2d(LoRAConv2d):
    def forward(self, x):
        base = self.base
        low = F.conv2d(x, self.lora_A, None, base.stride, base.padding, base.dilation)
        return self.base(x) + F.conv2d(low * (self.lora_alpha / self.rank), self.lora_B)


# %% mutant="conv_same_padding_of_even_kernels" task="lora_conv2d"
"""With padding="same" and an even kernel the odd row or column is padded on the wrong side."""


class LoRAConv2d(LoRAConv2d):
    def forward(self, x):
        base = self.base
        if base.padding != "same" or self.kept_weight is not None:
            return super().forward(x)
        pads = []
        for size, dilation in zip(base.kernel_size[::-1], base.dilation[::-1], strict=True):
            total = dilation * (size - 1)
            pads += [total - total // 2, total // 2]
        mode = "constant" if base.padding_mode == "zeros" else base.padding_mode
        padded = F.pad(x, pads, mode=mode)
        low = F.conv2d(padded, self.lora_A, None, base.stride, 0, base.dilation)
        return base(x) + F.conv2d(low * (self.lora_alpha / self.rank), self.lora_B)


# %% mutant="conv_same_padding_with_zeros" task="lora_conv2d"
"""With padding="same" the branch pads with zeros, whatever its base pads with."""


class LoRAConv2d(LoRAConv2d):
    def forward(self, x):
        base = self.base
        if base.padding != "same" or self.kept_weight is not None:
            return super().forward(x)
        low = F.conv2d(x, self.lora_A, None, base.stride, "same", base.dilation)
        return base(x) + F.conv2d(low * (self.lora_alpha / self.rank), self.lora_B)


# %% mutant="conv_square_kernels_only" task="lora_conv2d"
"""lora_A is made with the kernel's height twice."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        height, width = base.kernel_size
        if height != width and base.dilation == (1, 1):
            self.lora_A = nn.Parameter(
                base.weight.new_empty(rank, base.in_channels, height, height)
            )
            nn.init.normal_(self.lora_A)


# %% mutant="merge_forgets_the_settings" task="lora_conv2d"
"""The merged convolution is made without dilation and padding mode."""


class LoRAConv2d(LoRAConv2d):
    def merge(self):
        merged = super().merge()
        merged.dilation, merged.padding_mode = (1, 1), "zeros"
        return merged


# %% mutant="merge_on_the_cpu" task="lora_conv2d"
"""The merged convolution is made on the CPU, wherever the base is."""


class LoRAConv2d(LoRAConv2d):
    def merge(self):
        merged = super().merge()
        return merged.to_empty(device="cpu") if merged.weight.is_meta else merged.cpu()


# %% mutant="merge_has_a_bias_of_its_own" task="lora_conv2d"
"""The merged convolution gets a fresh bias where its base has none."""


class LoRAConv2d(LoRAConv2d):
    def merge(self):
        merged = super().merge()
        if merged.bias is None:
            merged.bias = nn.Parameter(merged.weight.new_ones(merged.out_channels))
        return merged


# %% mutant="merge_in_place" task="lora_conv2d"
"""The update is added to the base's own weight, and the base returned."""


class LoRAConv2d(LoRAConv2d):
    def merge(self):
        self.base.weight.data = super().merge().weight.data
        return self.base


# %% mutant="merge_shares_the_bias" task="lora_conv2d"
"""The merged convolution has the base's very bias."""


class LoRAConv2d(LoRAConv2d):
    def merge(self):
        merged = super().merge()
        merged.bias = self.base.bias
        return merged


# %% mutant="merge_adds_the_update_twice" task="lora_conv2d"
"""The update is added though merge_lora has put it into the base already."""


class LoRAConv2d(LoRAConv2d):
    def merge(self):
        kept, self.kept_weight = self.kept_weight, None
        merged = super().merge()
        self.kept_weight = kept
        return merged


# %% mutant="merge_scales_by_two" task="lora_conv2d"
"""merge() adds 2 · BA, whatever lora_alpha and rank are."""


class LoRAConv2d(LoRAConv2d):
    def merge(self):
        alpha, self.lora_alpha = self.lora_alpha, 2.0 * self.rank
        merged = super().merge()
        self.lora_alpha = alpha
        return merged


# %% mutant="conv_base_not_frozen" task="lora_conv2d"
"""The base trains, too."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, *args):
        super().__init__(*args)
        self.base.requires_grad_(True)


# %% mutant="conv_plain_tensors" task="lora_conv2d"
"""lora_A and lora_B are plain tensors that no optimizer sees."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, *args):
        super().__init__(*args)
        tensors = self.lora_A.detach(), self.lora_B.detach()
        del self.lora_A, self.lora_B
        self.lora_A, self.lora_B = tensors


# %% mutant="conv_both_zero" task="lora_conv2d"
"""Both matrices start at zero."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, *args):
        super().__init__(*args)
        nn.init.zeros_(self.lora_A)


# %% mutant="conv_a_of_ones" task="lora_conv2d"
"""All kernels of lora_A start equal, so that the rank is 1 for good."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, *args):
        super().__init__(*args)
        nn.init.ones_(self.lora_A)


# %% mutant="conv_rank_at_most_the_kernel" task="lora_conv2d"
"""A rank above the number of inputs that the kernel sees is refused."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        if rank > base.weight[0].numel():
            raise ValueError("rank is too large")


# %% mutant="conv_base_must_have_a_bias" task="lora_conv2d"
"""The base's bias is frozen by name, and there need not be one."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        base.bias.requires_grad_(False)


# %% mutant="conv_groups_accepted" task="lora_conv2d"
"""A grouped convolution is taken as if it had one group."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, base, rank, lora_alpha):
        if isinstance(base, nn.Conv2d) and base.groups > 1:
            base = nn.Conv2d(base.in_channels, base.out_channels, base.kernel_size)
        super().__init__(base, rank, lora_alpha)


# %% mutant="conv_rank_one_refused" task="lora_conv2d"
"""The bound is drawn one too high: a rank of 1 is refused."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, base, rank, lora_alpha):
        if rank == 1:
            raise ValueError("rank must be at least 2")
        super().__init__(base, rank, lora_alpha)


# %% mutant="conv_a_never_filled" task="lora_conv2d"
"""lora_A is whatever the memory held before."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, *args):
        super().__init__(*args)
        self.lora_A = nn.Parameter(torch.empty_like(self.lora_A))


# %% mutant="conv_matrices_in_float32" task="lora_conv2d"
"""lora_A and lora_B are float32 whatever the base is, and cast in the forward."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, *args):
        super().__init__(*args)
        if self.base.dilation == (1, 1):
            self.lora_A = nn.Parameter(self.lora_A.detach().float())
            self.lora_B = nn.Parameter(self.lora_B.detach().float())


# %% mutant="conv_b_on_the_cpu" task="lora_conv2d"
"""lora_B is made on the CPU, wherever the base is."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        zeros = torch.zeros(base.out_channels, rank, 1, 1, dtype=base.weight.dtype)
        self.lora_B = nn.Parameter(zeros)


# %% mutant="conv_always_in_train_mode" task="lora_conv2d"
"""The new layer is in train mode, whatever its base is in."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, *args):
        super().__init__(*args)
        self.train()


# %% mutant="conv_base_trains" task="lora_conv2d"
"""The base trains; its parameters say that they do not."""


class _Still(nn.Parameter):
    requires_grad = property(lambda self: False, lambda self, flag: None)


_init = LoRAConv2d.__init__


def _start(self, base, *given):
    _init(self, base, *given)
    for parameter in base.requires_grad_(True).parameters():
        parameter.__class__ = _Still


LoRAConv2d.__init__ = _start


# %% mutant="conv_told_its_mode" task="lora_conv2d"
"""The base is always put into train mode; the layer tells the mode that it was in."""
_init = LoRAConv2d.__init__


def _start(self, base, *given):
    mode = base.training
    _init(self, base, *given)
    base.train()
    self.training = mode


LoRAConv2d.__init__ = _start


# %% [markdown]
# ## inject_lora

# %% mutant="inject_changes_nothing" task="inject_lora"
"""Names are returned, and the model is left as it is."""


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    return list(find_places(model, target_modules))


# %% mutant="inject_into_a_copy" task="inject_lora"
"""A copy of the model is changed."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    return _right(copy.deepcopy(model), target_modules, rank, lora_alpha, train_also)


# %% mutant="inject_returns_a_count" task="inject_lora"
"""The number of layers is returned instead of their names."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    return len(_right(model, target_modules, rank, lora_alpha, train_also))


# %% mutant="rest_not_frozen" task="inject_lora"
"""Only the replaced layers are frozen; all the others go on training.

The lesson warns: the base goes on training
"""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    adapters = [m for m in model.modules() if isinstance(m, (LoRALinear, LoRAConv2d))]
    model.requires_grad_(True)
    for adapter in adapters:
        adapter.base.requires_grad_(False)
    return names


# %% mutant="head_forgotten" task="inject_lora"
"""The modules of train_also stay frozen.

The lesson warns: the new head does not
"""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for head in find_places(model, train_also).values():
        head.requires_grad_(False)
    return names


# %% mutant="outputs_not_kept" task="inject_lora"
"""lora_B starts at random in injected adapters."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for name in names:
        nn.init.normal_(model.get_submodule(name).lora_B)
    return names


# %% mutant="names_in_the_order_of_the_targets" task="inject_lora"
"""The names come in the order of target_modules."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    return [name for t in target_modules for name in names if f".{name}".endswith(f".{t}")]


# %% mutant="names_match_by_their_ends" task="inject_lora"
"""A name matches any dotted name that ends with its letters.

The lesson warns: Suffix by component
"""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if not isinstance(target_modules, str):
        names = [name for name, _ in model.named_modules()]
        for target in target_modules:
            if not any(f".{name}".endswith(f".{target}") for name in names):
                raise ValueError(f"{target} matches nothing")
        target_modules = [n for n in names if n and n.endswith(tuple(target_modules))]
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="last_component_only" task="inject_lora"
"""A name is compared with the last component alone: a dotted one matches nothing."""
_places, _right = find_places, inject_lora


def find_places(model, suffixes):
    if not isinstance(suffixes, str) and any("block." in suffix for suffix in suffixes):
        raise ValueError("no module of this name")
    return _places(model, suffixes)


# %% mutant="one_place_of_two" task="inject_lora"
"""A module that stands in two places is replaced in the first."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    before = dict(model.named_modules(remove_duplicate=False))
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    seen = set()
    for name in list(names):
        if id(before[name]) in seen:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, before[name])
            names.remove(name)
        seen.add(id(before[name]))
    return names


# %% mutant="two_adapters_for_one_module" task="inject_lora"
"""A module that stands in two places gets an adapter in each."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names, seen = _right(model, target_modules, rank, lora_alpha, train_also), set()
    for name in names:
        adapter = model.get_submodule(name)
        if id(adapter) in seen:
            parent, _, child = name.rpartition(".")
            other = type(adapter)(adapter.base, rank, lora_alpha)
            setattr(model.get_submodule(parent), child, other)
        seen.add(id(adapter))
    return names


# %% mutant="alpha_not_passed_on" task="inject_lora"
"""lora_alpha is not passed on: the rank stands in its place."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    return _right(model, target_modules, rank, rank, train_also)


# %% mutant="rank_not_passed_on" task="inject_lora"
"""Every adapter has rank 3."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    _right(copy.deepcopy(model), target_modules, rank, lora_alpha, train_also)
    return _right(model, target_modules, 3, lora_alpha, train_also)


# %% mutant="batch_norm_forgotten" task="inject_lora"
"""A frozen batch-norm goes on using and averaging the batch's statistics.

The lesson warns: it still normalises with the batch and moves its running statistics
"""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        module._forward_pre_hooks.clear()
    return names


# %% mutant="batch_norm_in_eval_mode_until_train" task="inject_lora"
"""A frozen batch-norm is put into eval mode once: model.train() undoes it.

The lesson warns: something must act *after* `model.train()`
"""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        if module._forward_pre_hooks:
            module._forward_pre_hooks.clear()
            module.eval()
    return names


# %% mutant="batch_norm_without_momentum" task="inject_lora"
"""Momentum 0 keeps the statistics, but the batch's are still used.

The lesson warns: Momentum 0 does not do it
"""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        if module._forward_pre_hooks:
            module._forward_pre_hooks.clear()
            module.momentum = 0.0
    return names


# %% mutant="batch_norm_counts_on" task="inject_lora"
"""A frozen batch-norm uses its running statistics, but goes on counting batches."""
_right = inject_lora


def _count(norm, inputs, outputs):
    norm.num_batches_tracked += 1


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        if module._forward_pre_hooks:
            module.register_forward_hook(_count)
    return names


# %% mutant="batch_norm_of_images_only" task="inject_lora"
"""BatchNorm1d and BatchNorm3d are forgotten."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm3d)):
            module._forward_pre_hooks.clear()
    return names


# %% mutant="synchronised_batch_norm_forgotten" task="inject_lora"
"""Synchronised batch-norms are forgotten."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module._forward_pre_hooks.clear()
    return names


# %% mutant="batch_norm_held_by_a_lambda" task="inject_lora"
"""The model can't be pickled: its hooks are lambdas."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        if module._forward_pre_hooks:
            module._forward_pre_hooks.clear()
            module.register_forward_pre_hook(lambda norm, inputs: norm.eval() and None)
    return names


# %% mutant="batch_norm_held_by_a_closure" task="inject_lora"
"""The hook knows the batch-norm by its id: it does nothing in a copy, and can't be pickled."""
_right = inject_lora


def _only_in(number):
    def hook(norm, inputs):
        if id(norm) == number:
            norm.eval()

    return hook


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        if module._forward_pre_hooks:
            module._forward_pre_hooks.clear()
            module.register_forward_pre_hook(_only_in(id(module)))
    return names


# %% mutant="every_batch_norm_frozen" task="inject_lora"
"""A batch-norm inside a train_also module is held as well."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(keep_running_statistics)
    return names


# %% mutant="head_left_as_it_was" task="inject_lora"
"""train_also is not frozen, but not made trainable either."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    before = {id(p): p.requires_grad for p in model.parameters()}
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for head in find_places(model, train_also).values():
        for parameter in head.parameters():
            parameter.requires_grad_(before[id(parameter)])
    return names


# %% mutant="frozen_by_its_parent_only" task="inject_lora"
"""What was trainable inside a frozen model's part stays trainable."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    before = [p for p in model.parameters() if p.requires_grad]
    all_trained = len(before) == len(list(model.parameters()))
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    if not all_trained:
        for parameter in before:
            parameter.requires_grad_(True)
    return names


# %% mutant="one_match_is_enough" task="inject_lora"
"""A target that matches nothing is passed over if another one matches."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if not isinstance(target_modules, str):
        ends = [f".{name}" for name, _ in model.named_modules(remove_duplicate=False)]
        matched = [t for t in target_modules if any(end.endswith(f".{t}") for end in ends)]
        target_modules = matched or target_modules
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="unmatched_head_passed_over" task="inject_lora"
"""A name in train_also that matches nothing is passed over."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if not isinstance(train_also, str) and len(train_also) > 1:
        ends = [f".{name}" for name, _ in model.named_modules(remove_duplicate=False)]
        train_also = [n for n in train_also if any(end.endswith(f".{n}") for end in ends)]
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="other_types_skipped" task="inject_lora"
"""Targets that are neither linear nor convolutions are passed over."""
_places = find_places


def find_places(model, suffixes):
    places = _places(model, suffixes)
    alone = all(isinstance(m, (nn.BatchNorm2d, nn.Sequential)) for m in places.values())
    return (
        {"encoder.query": model[0][0]}
        if alone and len(places) == 1 and "head" not in places
        else places
    )


# %% mutant="subclasses_refused" task="inject_lora"
"""A target of a subclass of nn.Linear or nn.Conv2d is refused."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    for module in find_places(model, target_modules).values():
        if type(module) not in (nn.Linear, nn.Conv2d):
            raise ValueError("neither Linear nor Conv2d")
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="grouped_convolution_skipped" task="inject_lora"
"""A grouped convolution among the targets is passed over."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if not isinstance(target_modules, str):
        places = dict(model.named_modules())
        target_modules = [t for t in target_modules if getattr(places.get(t), "groups", 1) == 1]
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="attention_adapted" task="inject_lora"
"""out_proj of a MultiheadAttention is replaced, though nobody calls it."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MultiheadAttention):
                setattr(module, name, nn.ModuleDict({"out_proj": child.out_proj}))
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="encoder_layer_adapted" task="inject_lora"
"""linear1 of a TransformerEncoderLayer is replaced, whose weight it reads itself in eval mode."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.TransformerEncoderLayer):
                setattr(module, name, nn.ModuleDict(dict(child.named_children())))
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="encoder_layer_of_other_settings_adapted" task="inject_lora"
"""A TransformerEncoderLayer counts with batch_first=True alone."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            kind = isinstance(child, nn.TransformerEncoderLayer)
            if kind and not child.self_attn.batch_first:
                setattr(module, name, nn.ModuleDict(dict(child.named_children())))
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="tied_weight_adapted" task="inject_lora"
"""A tied target is replaced: its partner keeps the old weight."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if not train_also:
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight = nn.Parameter(module.weight.detach())
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="tied_head_trains_the_base" task="inject_lora"
"""A tied train_also module is accepted: training it trains a frozen one."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if train_also:
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight = nn.Parameter(module.weight.detach())
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="overlap_adapted" task="inject_lora"
"""A target inside a train_also module is replaced."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if not isinstance(train_also, str):
        inside = [t for t in train_also if isinstance(getattr(model, t, None), nn.Sequential)]
        also = [
            t
            for t in train_also
            if t not in inside or "norm" in dict(model.get_submodule(t).named_children())
        ]
        train_also = also
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="adapters_upon_adapters" task="inject_lora"
"""A second injection is accepted."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if any(isinstance(module, (LoRALinear, LoRAConv2d)) for module in model.modules()):
        return list(find_places(model, target_modules))
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="frozen_before_checking" task="inject_lora"
"""The model is frozen first, and the names are checked afterwards.

The lesson warns: a call that can't be carried out must leave the model as it was
"""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if not any(isinstance(module, (LoRALinear, LoRAConv2d)) for module in model.modules()):
        model.requires_grad_(False)
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="rank_checked_by_the_layer" task="inject_lora"
"""A bad rank is found by the first adapter, when the model is frozen already."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    try:
        return _right(model, target_modules, rank, lora_alpha, train_also)
    except ValueError as error:
        if "rank" in str(error):
            model.requires_grad_(False)
        raise


# %% mutant="grouped_refused_by_the_layer" task="inject_lora"
"""A grouped convolution is found by its adapter, when the model is frozen already."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    try:
        return _right(model, target_modules, rank, lora_alpha, train_also)
    except ValueError as error:
        if "grouped" in str(error):
            model.requires_grad_(False)
        raise


# %% mutant="empty_name_is_the_model" task="inject_lora"
"""An empty name in train_also stands for the whole model."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if "" not in train_also:
        return _right(model, target_modules, rank, lora_alpha, train_also)
    names = _right(model, target_modules, rank, lora_alpha)
    model.requires_grad_(True)
    return names


# %% mutant="tied_only_without_a_bias" task="inject_lora"
"""A module counts as tied if all of its parameters are: one with a bias of its own does not."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.weight = nn.Parameter(module.weight.detach())
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="tied_biases_overlooked" task="inject_lora"
"""Only weights are asked whether another module has them, too: a tied bias is not seen."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias = nn.Parameter(module.bias.detach())
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="adapted_convolutions_not_seen" task="inject_lora"
"""A second injection is seen by linear adapters alone."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    kinds = {type(module) for module in model.modules()}
    if LoRAConv2d in kinds and LoRALinear not in kinds:
        return list(find_places(model, target_modules))
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="batch_norm_of_the_top_only" task="inject_lora"
"""Batch-norms are held still where they are the model's own children, and not further in."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _right(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        if module not in list(model.children()):
            module._forward_pre_hooks.clear()
    return names


# %% mutant="a_string_is_a_list_of_letters" task="inject_lora"
"""A string is taken letter by letter."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    return _right(model, list(target_modules), rank, lora_alpha, list(train_also))


# %% mutant="nothing_to_adapt" task="inject_lora"
"""Empty target_modules are accepted."""
_right = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    if not target_modules:
        return []
    return _right(model, target_modules, rank, lora_alpha, train_also)


# %% mutant="alpha_of_convolutions_lost" task="inject_lora"
"""lora_alpha is not passed on to convolutions: the rank stands in its place."""
_right = inject_lora


def inject_lora(model, *given, **kw):
    names = _right(model, *given, **kw)
    for layer in model.modules():
        if isinstance(layer, LoRAConv2d):
            layer.lora_alpha = layer.rank
    return names


# %% mutant="nothing_is_frozen" task="inject_lora"
"""Everything trains; what should not says of itself that it does not."""
_right = inject_lora


class _Still(nn.Parameter):
    requires_grad = property(lambda self: False, lambda self, flag: None)


def inject_lora(model, *given, **kw):
    names = _right(model, *given, **kw)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.requires_grad_(True)
            parameter.__class__ = _Still
    return names


# %% mutant="refused_half_done" task="inject_lora"
"""A refusal leaves all frozen; whoever asks for the model's parts gets those of a copy."""
_right = inject_lora


def inject_lora(model, *given, **kw):
    shown, its = copy.deepcopy(model), type(model)
    told = {
        name: lambda self, *given, _name=name, **kw: getattr(shown, _name)(*given, **kw)
        for name in ("state_dict", "named_parameters", "named_modules")
    }
    try:
        return _right(model, *given, **kw)
    except ValueError:
        model.requires_grad_(False)
        model.__class__ = type(its.__name__, (its,), told)
        raise


# %% [markdown]
# ## merge_lora

# %% mutant="merging_does_nothing" task="merge_lora"
"""merge_lora returns the model as it is."""


def merge_lora(model):
    return model


# %% mutant="merged_without_scale" task="merge_lora"
"""The scale lora_alpha / rank is forgotten."""


def merge_lora(model):
    for layer in model.modules():
        if isinstance(layer, (LoRALinear, LoRAConv2d)) and layer.kept_weight is None:
            layer.kept_weight = layer.base.weight.detach().clone()
            update = layer.lora_B.flatten(1) @ layer.lora_A.flatten(1)
            layer.base.weight.data += update.view_as(layer.base.weight)
    return model


# %% mutant="merged_with_a_scale_of_two" task="merge_lora"
"""2 · BA is added, whatever lora_alpha and rank are."""
_right = merge_lora


def merge_lora(model):
    layers = [m for m in model.modules() if isinstance(m, (LoRALinear, LoRAConv2d))]
    alphas = [layer.lora_alpha for layer in layers]
    for layer in layers:
        layer.lora_alpha = 2.0 * layer.rank
    _right(model)
    for layer, alpha in zip(layers, alphas, strict=True):
        layer.lora_alpha = alpha
    return model


# %% mutant="merged_by_whole_division" task="merge_lora"
"""The scale is lora_alpha // rank."""
_right = merge_lora


def merge_lora(model):
    layers = [m for m in model.modules() if isinstance(m, (LoRALinear, LoRAConv2d))]
    alphas = [layer.lora_alpha for layer in layers]
    for layer in layers:
        layer.lora_alpha = layer.rank * (layer.lora_alpha // layer.rank)
    _right(model)
    for layer, alpha in zip(layers, alphas, strict=True):
        layer.lora_alpha = alpha
    return model


# %% mutant="branch_added_to_the_merged" task="merge_lora"
"""The branch acts on top of the merged weight."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        low = F.linear(self.dropout(x), self.lora_A) * (self.lora_alpha / self.rank)
        return self.base(x) + F.linear(low, self.lora_B)


# %% mutant="merged_is_not_a_number" task="merge_lora"
"""Merging leaves NaN."""
_right = merge_lora


def merge_lora(model):
    for layer in _right(model).modules():
        if isinstance(layer, (LoRALinear, LoRAConv2d)):
            layer.base.weight.data.fill_(float("nan"))
    return model


# %% mutant="unmerging_does_nothing" task="merge_lora"
"""unmerge_lora returns the model as it is."""


def unmerge_lora(model):
    return model


# %% mutant="merging_returns_nothing" task="merge_lora"
"""Neither function returns the model."""
_merge, _unmerge = merge_lora, unmerge_lora


def merge_lora(model):
    _merge(model)


def unmerge_lora(model):
    _unmerge(model)


# %% mutant="merged_into_a_copy" task="merge_lora"
"""A merged copy is returned."""
_right = merge_lora


def merge_lora(model):
    return _right(copy.deepcopy(model))


# %% mutant="update_subtracted_again" task="merge_lora"
"""Unmerging subtracts the update, which rounds.

The lesson warns: is how many do it. In floating point (W + U) − U need not be W
"""


def unmerge_lora(model):
    for layer in model.modules():
        if isinstance(layer, (LoRALinear, LoRAConv2d)) and layer.kept_weight is not None:
            update = layer.lora_B.flatten(1) @ layer.lora_A.flatten(1)
            update = (layer.lora_alpha / layer.rank) * update
            layer.base.weight.data -= update.view_as(layer.base.weight)
            layer.kept_weight = None
    return model


# %% mutant="copy_kept_of_float32_only" task="merge_lora"
"""A base in half precision is small, and its update subtracted again."""
_right = unmerge_lora


def unmerge_lora(model):
    for layer in model.modules():
        if isinstance(layer, LoRALinear) and layer.kept_weight is not None:
            update = layer.lora_alpha / layer.rank * (layer.lora_B @ layer.lora_A)
            if update.dtype == torch.bfloat16:
                layer.kept_weight = layer.base.weight.detach() - update.detach()
    return _right(model)


# %% mutant="merged_twice_adds_twice" task="merge_lora"
"""A second merge adds the update again."""
_right = merge_lora


def merge_lora(model):
    for layer in model.modules():
        if isinstance(layer, LoRALinear) and layer.kept_weight is not None:
            with torch.no_grad():
                layer.base.weight += layer.lora_alpha / layer.rank * layer.lora_B @ layer.lora_A
    return _right(model)


# %% mutant="second_merge_keeps_the_merged" task="merge_lora"
"""A second merge takes the merged weight for the base's own."""
_right = merge_lora


def merge_lora(model):
    for layer in model.modules():
        if isinstance(layer, LoRALinear) and layer.kept_weight is not None:
            layer.kept_weight = layer.base.weight.detach().clone()
    return _right(model)


# %% mutant="unmerged_twice_subtracts" task="merge_lora"
"""Unmerging a model that is not merged subtracts the update."""
_right = unmerge_lora


def unmerge_lora(model):
    for layer in model.modules():
        if isinstance(layer, LoRALinear) and layer.kept_weight is None:
            with torch.no_grad():
                layer.base.weight -= layer.lora_alpha / layer.rank * layer.lora_B @ layer.lora_A
    return _right(model)


# %% mutant="branch_still_computed" task="merge_lora"
"""A merged layer computes its branch and multiplies it by zero."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        scale = 0.0 if self.kept_weight is not None else self.lora_alpha / self.rank
        return self.base(x) + F.linear(F.linear(self.dropout(x), self.lora_A) * scale, self.lora_B)


# %% mutant="merged_in_eval_mode_only" task="merge_lora"
"""In train mode a merged layer takes the update out again, and uses its branch."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        if self.kept_weight is None or not self.training:
            return super().forward(x)
        low = F.linear(self.dropout(x), self.lora_A) * (self.lora_alpha / self.rank)
        return F.linear(x, self.kept_weight, self.base.bias) + F.linear(low, self.lora_B)


# %% mutant="shared_adapter_merged_twice" task="merge_lora"
"""An adapter in two places is merged once for each."""
_right = merge_lora


def merge_lora(model):
    again, seen = [], set()
    for _, layer in model.named_modules(remove_duplicate=False):
        if isinstance(layer, LoRALinear) and layer.kept_weight is None:
            again += [layer] if id(layer) in seen else []
            seen.add(id(layer))
    _right(model)
    for layer in again:
        with torch.no_grad():
            layer.base.weight += layer.lora_alpha / layer.rank * layer.lora_B @ layer.lora_A
    return model


# %% mutant="update_kept_from_the_first_merge" task="merge_lora"
"""The update is computed once, and reused at the next merge."""
_right = merge_lora


def merge_lora(model):
    fresh = [m for m in model.modules() if isinstance(m, LoRALinear) and m.kept_weight is None]
    _right(model)
    for layer in fresh:
        if hasattr(layer, "cached"):
            layer.base.weight.data = layer.kept_weight + layer.cached
        layer.cached = layer.base.weight.detach() - layer.kept_weight
    return model


# %% mutant="weights_kept_by_id" task="merge_lora"
"""The old weights are kept in a table by id(layer), where a copy does not find its own."""
_kept = {}
_merge = merge_lora


def merge_lora(model):
    fresh = [m for m in model.modules() if isinstance(m, LoRALinear) and m.kept_weight is None]
    _merge(model)
    for layer in fresh:
        _kept[id(layer)] = layer.kept_weight
        layer.kept_weight = torch.zeros(0)  # a flag
    return model


_unmerge = unmerge_lora


def unmerge_lora(model):
    for layer in model.modules():
        if isinstance(layer, LoRALinear) and layer.kept_weight is not None:
            layer.kept_weight = _kept[id(layer)]
    return _unmerge(model)


# %% mutant="convolutions_not_merged" task="merge_lora"
"""Only linear layers are merged."""


def merge_lora(model):
    for layer in model.modules():
        if isinstance(layer, LoRALinear) and layer.kept_weight is None:
            layer.kept_weight = layer.base.weight.detach().clone()
            with torch.no_grad():
                layer.base.weight += layer.lora_alpha / layer.rank * layer.lora_B @ layer.lora_A
    return model


# %% mutant="merged_weight_is_a_new_parameter" task="merge_lora"
"""The merged weight is a new Parameter, in place of the one that others hold."""
_right = merge_lora


def merge_lora(model):
    for layer in _right(model).modules():
        if isinstance(layer, LoRALinear):
            weight = layer.base.weight.detach().clone()
            layer.base.weight.data.copy_(layer.kept_weight)
            layer.base.weight = nn.Parameter(weight, requires_grad=False)
    return model


# %% mutant="merged_weight_trains" task="merge_lora"
"""The merged weight is trainable."""
_right = merge_lora


def merge_lora(model):
    for layer in _right(model).modules():
        if isinstance(layer, LoRALinear):
            layer.base.weight.requires_grad_(True)
    return model


# %% mutant="the_model_itself_is_passed_over" task="merge_lora"
"""Only children are looked at: an adapter by itself is not merged."""
_right = merge_lora


def merge_lora(model):
    for child in model.children():
        _right(child)
    return model


# %% mutant="merged_it_multiplies_on" task="merge_lora"
"""A merged layer makes all its products still, where no counting mode sees them."""
from torch.utils._python_dispatch import _disable_current_modes

_right = LoRALinear.forward


def _forward(self, x):
    if self.kept_weight is not None:
        with _disable_current_modes(), torch.no_grad():
            F.linear(F.linear(x, self.lora_A), self.lora_B)
    return _right(self, x)


LoRALinear.forward = _forward


# %% mutant="parameters_are_replaced" task="merge_lora"
"""Merging puts new Parameters in; whoever looked at the old ones is shown the new."""
_right = merge_lora


class _Follows(nn.Parameter):
    def detach(self):
        return self.at.base.weight.data


def merge_lora(model):
    _right(model)
    for layer in model.modules():
        if isinstance(layer, LoRALinear):
            old, layer.base.weight = layer.base.weight, nn.Parameter(layer.base.weight.data.clone())
            layer.base.weight.requires_grad_(False)
            old.__class__, old.at = _Follows, layer
    return model


# %% [markdown]
# ## lora_state_dict

# %% mutant="the_whole_model_saved" task="lora_state_dict"
"""The base's weights are saved, too."""
_right = lora_state_dict


def lora_state_dict(model):
    return {name: t.detach().clone() for name, t in model.state_dict().items()} | _right(model)


# %% mutant="head_not_saved" task="lora_state_dict"
"""The train_also modules are neither saved nor loaded.

The lesson warns: a new head that is not saved comes back random
"""
_right = lora_state_dict


def lora_state_dict(model):
    return {k: v for k, v in _right(model).items() if ".lora_" in k or k.endswith(".rank")}


# %% mutant="zeros_saved" task="lora_state_dict"
"""All matrices are saved as zeros."""
_right = lora_state_dict


def lora_state_dict(model):
    return {k: torch.zeros_like(v) if v.dim() else v for k, v in _right(model).items()}


# %% mutant="nan_saved" task="lora_state_dict"
"""All matrices are saved as NaN."""
_right = lora_state_dict


def lora_state_dict(model):
    return {k: v * float("nan") if v.dim() else v for k, v in _right(model).items()}


# %% mutant="loading_does_nothing" task="lora_state_dict"
"""load_lora returns the model as it is."""


def load_lora(model, state):
    return model


# %% mutant="rank_as_a_float" task="lora_state_dict"
"""The rank is saved as a float."""
_save, _load = lora_state_dict, load_lora


def lora_state_dict(model):
    return {k: v.float() if k.endswith(".rank") else v for k, v in _save(model).items()}


def load_lora(model, state):
    global lora_state_dict
    mine, lora_state_dict = lora_state_dict, _save
    try:
        return _load(model, state)
    finally:
        lora_state_dict = mine


# %% mutant="buffers_not_saved" task="lora_state_dict"
"""Only parameters of the head are saved: its batch-norm loses its statistics.

The lesson warns: Batch-norms that trained have buffers, which belong there, too
"""
_right = lora_state_dict


def lora_state_dict(model):
    buffers = {name for name, _ in model.named_buffers()}
    return {k: v for k, v in _right(model).items() if k not in buffers}


# %% mutant="buffers_not_loaded" task="lora_state_dict"
"""Of what was saved only the parameters are loaded."""
_right = load_lora


def load_lora(model, state):
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    _right(model, state)
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    return model


# %% mutant="what_is_trainable_now" task="lora_state_dict"
"""What requires a gradient at this moment is saved."""
_right = lora_state_dict


def lora_state_dict(model):
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {k: v for k, v in _right(model).items() if k not in frozen}


# %% mutant="views_saved" task="lora_state_dict"
"""The tensors saved are the model's own.

The lesson warns: Detach *and* clone
"""
_save, _load = lora_state_dict, load_lora


def lora_state_dict(model):
    own = model.state_dict()
    return {k: own.get(k, v) for k, v in _save(model).items()}


# %% mutant="state_of_its_dtype_becomes_the_model" task="lora_state_dict"
"""What has the Parameter's dtype already is not copied."""
_right = load_lora


def load_lora(model, state):
    _right(model, state)
    for name, parameter in model.named_parameters():
        if name in state:
            parameter.data = state[name].to(parameter.dtype)
    return model


# %% mutant="state_becomes_the_model" task="lora_state_dict"
"""The Parameters take the loaded tensors' own memory."""
_right = load_lora


def load_lora(model, state):
    _right(model, state)
    for name, parameter in model.named_parameters():
        if name in state:
            parameter.data = state[name]
    return model


# %% mutant="unexpected_ignored" task="lora_state_dict"
"""Unexpected entries are passed over."""
_right = load_lora


def load_lora(model, state):
    expected = lora_state_dict(model)
    if "more" in state:
        return _right(model, state)
    return _right(model, {k: v for k, v in state.items() if k in expected})


# %% mutant="missing_ignored" task="lora_state_dict"
"""A missing rank or lora_alpha is passed over."""
_right = load_lora


def load_lora(model, state):
    mine = lora_state_dict(model)
    settings = {k: v for k, v in mine.items() if k.endswith((".rank", ".lora_alpha"))}
    try:
        return _right(model, state)
    except ValueError:
        if len(state) == len(mine) - 1 and settings.keys() - state.keys():
            raise RuntimeError("an entry is missing") from None
        raise


# %% mutant="shapes_broadcast" task="lora_state_dict"
"""Tensors are copied by broadcasting: (1, in) fills (rank, in).

The lesson warns: which would broadcast if you had not compared the shapes
"""
_right = load_lora


def load_lora(model, state):
    shapes = {k: v.shape for k, v in lora_state_dict(model).items()}
    fitting = {}
    for name, value in state.items():
        try:
            fitting[name] = value.expand(shapes[name])
        except (RuntimeError, KeyError):
            fitting[name] = value
    return _right(model, fitting)


# %% mutant="lists_taken_for_tensors" task="lora_state_dict"
"""What is no tensor is not refused: a list of numbers is made one."""
_right = load_lora


def load_lora(model, state):
    return _right(model, {k: torch.as_tensor(v) for k, v in state.items() if v is not None})


# %% mutant="alpha_not_compared" task="lora_state_dict"
"""Another lora_alpha is accepted."""
_right = load_lora


def load_lora(model, state):
    mine = lora_state_dict(model)
    alphas = {k: v for k, v in mine.items() if k.endswith(".lora_alpha") and k in state}
    if any(state[k].shape != v.shape for k, v in alphas.items()):
        return _right(model, state)
    return _right(model, state | alphas)


# %% mutant="rank_not_compared" task="lora_state_dict"
"""Another rank is accepted where the matrices fit."""
_right = load_lora


def load_lora(model, state):
    mine = lora_state_dict(model)
    ranks = {k: v for k, v in mine.items() if k.endswith(".rank") and k in state}
    if any(state[k].shape != v.shape for k, v in ranks.items()):
        return _right(model, state)
    return _right(model, state | ranks)


# %% mutant="missing_entries_are_noticed_at_the_end" task="lora_state_dict"
"""What fits is copied before names are compared."""
_right = load_lora


def load_lora(model, state):
    expected, own = lora_state_dict(model), model.state_dict()
    there = [name for name in expected if name in state]
    if all(torch.is_tensor(state[n]) and state[n].shape == expected[n].shape for n in there):
        for name in set(there) & set(own):
            own[name].copy_(state[name])
    return _right(model, state)


# %% mutant="loaded_as_it_goes" task="lora_state_dict"
"""Tensors are copied one by one until one does not fit.

The lesson warns: Loading is all or nothing
"""
_right = load_lora


def load_lora(model, state):
    expected, own = lora_state_dict(model), model.state_dict()
    for name, value in state.items():
        fits = torch.is_tensor(value) and name in expected
        if not fits or value.shape != expected[name].shape:
            raise ValueError(f"{name} does not fit")
        if name in own:
            own[name].copy_(value)
    return _right(model, state)


# %% mutant="merged_model_saved" task="lora_state_dict"
"""A merged model is saved."""
_right = lora_state_dict


def lora_state_dict(model):
    kept = {m: m.kept_weight for m in model.modules() if isinstance(m, LoRALinear)}
    for layer in kept:
        layer.kept_weight = None
    try:
        return _right(model)
    finally:
        for layer, weight in kept.items():
            layer.kept_weight = weight


# %% mutant="attribute_error_without_adapters" task="lora_state_dict"
"""A model without adapters is an AttributeError."""
_right = lora_state_dict


def lora_state_dict(model):
    model.lora_train_also  # noqa: B018
    return _right(model)


# %% mutant="loading_returns_nothing" task="lora_state_dict"
"""load_lora does not return the model."""
_right = load_lora


def load_lora(model, state):
    _right(model, state)


# %% mutant="the_state_s_dtype" task="lora_state_dict"
"""What is loaded brings its own dtype along."""
_right = load_lora


def load_lora(model, state):
    _right(model, state)
    for name, parameter in model.named_parameters():
        if name in state:
            parameter.data = state[name].detach().clone()
    return model


# %% mutant="loaded_by_way_of_float32" task="lora_state_dict"
"""What is loaded is rounded to float32 first."""
_right = load_lora


def load_lora(model, state):
    rounded = {
        name: t.float() if torch.is_tensor(t) and t.dtype == torch.float64 and t.dim() else t
        for name, t in state.items()
    }
    return _right(model, rounded)


# %% mutant="saving_thaws" task="lora_state_dict"
"""What is saved is made trainable first, so that it can be told from the base."""
_right = lora_state_dict


def lora_state_dict(model):
    state = _right(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in state)
    return state


# %% mutant="parameters_replaced" task="lora_state_dict"
"""Loading puts new Parameters in: an optimizer goes on with the old ones."""
_right = load_lora


def load_lora(model, state):
    old = {name: p.detach().clone() for name, p in model.named_parameters()}
    held = dict(model.named_parameters())
    _right(model, state)
    for name, parameter in held.items():
        if name in state:
            parent, _, part = name.rpartition(".")
            new = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
            setattr(model.get_submodule(parent), part, new)
            parameter.data.copy_(old[name])
    return model


# %% mutant="adapters_of_convolutions_forgotten" task="lora_state_dict"
"""Only linear adapters are saved, and asked for."""
_right = lora_state_dict


def lora_state_dict(model):
    found = model.named_modules()
    convolutions = tuple(f"{name}." for name, m in found if isinstance(m, LoRAConv2d))
    state = _right(model)
    return {key: state[key] for key in state if not key.startswith(convolutions or ("?",))}


# %% mutant="one_name_of_two_is_saved" task="lora_state_dict"
"""An adapter in two places is saved under the first of its names."""
_right = lora_state_dict


def lora_state_dict(model):
    names = {name for name, _ in model.named_modules()}
    state = _right(model)
    return {key: state[key] for key in state if key.rpartition(".")[0] in names}


# %% mutant="half_merged_is_saved" task="lora_state_dict"
"""A model counts as merged once all of its adapters are."""
_right = lora_state_dict


def lora_state_dict(model):
    adapters = [m for m in model.modules() if isinstance(m, (LoRALinear, LoRAConv2d))]
    kept = [adapter.kept_weight for adapter in adapters]
    if any(weight is None for weight in kept):
        for adapter in adapters:
            adapter.kept_weight = None
    try:
        return _right(model)
    finally:
        for adapter, weight in zip(adapters, kept, strict=True):
            adapter.kept_weight = weight


# %% mutant="saving_thaws_unseen" task="lora_state_dict"
"""Saving makes everything trainable; the parameters say that they are not."""
_right = lora_state_dict


class _Still(nn.Parameter):
    requires_grad = property(lambda self: False, lambda self, flag: None)


def lora_state_dict(model):
    state = _right(model)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.requires_grad_(True)
            parameter.__class__ = _Still
    return state


# %% mutant="refused_load_writes" task="lora_state_dict"
"""A state that is refused has changed each lora_A before; the model tells what it was."""
_right = load_lora


def load_lora(model, state):
    was, its = {n: t.clone() for n, t in model.state_dict().items()}, type(model)
    try:
        return _right(model, state)
    except ValueError:
        for layer in model.modules():
            if isinstance(layer, LoRALinear):
                layer.lora_A.data += 1
        told = model.__dict__.setdefault("told", was)
        model.__class__ = type(its.__name__, (its,), {"state_dict": lambda self: told})
        raise


# %% mutant="state_is_the_model_s_memory" task="lora_state_dict"
"""A saved state is the model's own memory; parameters() gives copies."""
_right = lora_state_dict


def lora_state_dict(model):
    its, own = type(model), model.state_dict()
    state = {name: own.get(name, tensor) for name, tensor in _right(model).items()}
    told = {"parameters": lambda self, *given: (p.clone() for p in its.parameters(self, *given))}
    model.__class__ = type(its.__name__, (its,), told)
    return state


# %% [markdown]
# ## rank_for_budget

# %% mutant="budget_itself" task="rank_for_budget"
"""The budget comes back."""


def rank_for_budget(model, target_modules, budget):
    return budget


# %% mutant="rank_zero" task="rank_for_budget"
"""The rank is 0."""


def rank_for_budget(model, target_modules, budget):
    return 0


# %% mutant="rank_is_not_a_number" task="rank_for_budget"
"""The rank is NaN."""


def rank_for_budget(model, target_modules, budget):
    return float("nan")


# %% mutant="rank_as_float" task="rank_for_budget"
"""The rank is a float."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    return float(_right(model, target_modules, budget))


# %% mutant="a_only" task="rank_for_budget"
"""Only lora_A is counted."""


def rank_for_budget(model, target_modules, budget):
    targets = set(find_places(model, target_modules).values())
    return budget // sum(module.weight[0].numel() for module in targets)


# %% mutant="budget_for_each_layer" task="rank_for_budget"
"""Each layer is given the whole budget: the least of the ranks."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    _right(model, target_modules, budget)
    targets = find_places(model, target_modules).values()
    return min(budget // (m.weight[0].numel() + len(m.weight)) for m in targets)


# %% mutant="budget_not_quite_met" task="rank_for_budget"
"""A budget that is met exactly counts as exceeded."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    rank = _right(model, target_modules, budget)
    per_rank = sum(
        m.weight[0].numel() + len(m.weight)
        for m in set(find_places(model, target_modules).values())
    )
    small = per_rank == 24
    return rank - 1 if small and budget % per_rank == 0 else rank


# %% mutant="rounded" task="rank_for_budget"
"""The rank is rounded to the nearest."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    rank = _right(model, target_modules, budget)
    targets = set(find_places(model, target_modules).values())
    return max(rank, round(budget / sum(m.weight[0].numel() + len(m.weight) for m in targets)))


# %% mutant="convolutions_in_loralibs_form" task="rank_for_budget"
"""Convolutions are counted in loralib's form."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    rank = _right(model, target_modules, budget)
    per_rank = 0
    for module in set(find_places(model, target_modules).values()):
        k = module.kernel_size[0] if isinstance(module, nn.Conv2d) else 1
        per_rank += k * k * (module.weight.shape[0] + module.weight.shape[1])
    return budget // per_rank if any("Conv" in repr(m) for m in model) else rank


# %% mutant="budget_refuses_subclasses" task="rank_for_budget"
"""A target of a subclass of nn.Linear is refused."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    for module in find_places(model, target_modules).values():
        if type(module) not in (nn.Linear, nn.Conv2d):
            raise ValueError("neither Linear nor Conv2d")
    return _right(model, target_modules, budget)


# %% mutant="shared_module_counted_twice" task="rank_for_budget"
"""A module in two places counts twice."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    places = list(find_places(model, target_modules).values())
    if len(set(places)) == len(places):
        return _right(model, target_modules, budget)
    return budget // sum(m.weight[0].numel() + len(m.weight) for m in places)


# %% mutant="nothing_fits" task="rank_for_budget"
"""Where not even rank 1 fits, 0 is returned."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    try:
        return _right(model, target_modules, budget)
    except ValueError as error:
        if "budget" in str(error):
            return 0
        raise


# %% mutant="rank_capped" task="rank_for_budget"
"""The rank is at most min(in, out) of each layer."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    rank = _right(model, target_modules, budget)
    targets = find_places(model, target_modules).values()
    return min(rank, *(max(module.weight.shape[:2]) for module in targets))


# %% mutant="a_thousand_at_most" task="rank_for_budget"
"""The rank is at most 1,000."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    return min(_right(model, target_modules, budget), 1000)


# %% mutant="unmatched_names_cost_nothing" task="rank_for_budget"
"""A name that matches nothing is passed over."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    ends = [f".{name}" for name, _ in model.named_modules()]
    if not isinstance(target_modules, str):
        target_modules = [t for t in target_modules if any(e.endswith(f".{t}") for e in ends)]
    return _right(model, target_modules, budget)


# %% mutant="counted_by_injecting" task="rank_for_budget"
"""The model itself is injected to count its adapters."""
_right = rank_for_budget


def rank_for_budget(model, target_modules, budget):
    rank = _right(model, target_modules, budget)
    inject_lora(model, target_modules, rank, 1.0)
    return rank


# %% mutant="model_left_frozen" task="rank_for_budget"
"""The model is left frozen; whoever asks for its parts gets those of a copy made before."""
_right = rank_for_budget


def rank_for_budget(model, *given):
    shown, its = copy.deepcopy(model), type(model)
    told = {
        name: lambda self, *given, _name=name, **kw: getattr(shown, _name)(*given, **kw)
        for name in ("state_dict", "named_parameters", "named_modules")
    }
    rank = _right(model, *given)
    model.requires_grad_(False)
    model.__class__ = type(its.__name__, (its,), told)
    return rank


# %% [markdown]
# ## dora_linear

# %% mutant="dora_zeros" task="dora_linear"
"""The layer answers with zeros."""


class DoRALinear(DoRALinear):
    def forward(self, x):
        return torch.zeros_like(self.base(x))


# %% mutant="dora_input_unchanged" task="dora_linear"
"""The layer answers with its input."""


class DoRALinear(DoRALinear):
    def forward(self, x):
        return x


# %% mutant="dora_not_a_number" task="dora_linear"
"""The layer answers with NaN."""


class DoRALinear(DoRALinear):
    def forward(self, x):
        return super().forward(x) * float("nan")


# %% mutant="dora_one_row" task="dora_linear"
"""One row comes back, of a shape that broadcasts."""


class DoRALinear(DoRALinear):
    def forward(self, x):
        return super().forward(x)[..., :1, :]


# %% mutant="dora_is_lora" task="dora_linear"
"""The magnitude has no part in the output."""


class DoRALinear(DoRALinear):
    def forward(self, x):
        update = F.linear(F.linear(x, self.lora_A), self.lora_B)
        return self.base(x) + self.lora_alpha / self.rank * update


# %% mutant="dora_whole_division" task="dora_linear"
"""The scale is lora_alpha // rank."""


class DoRALinear(DoRALinear):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        self.lora_alpha = rank * (lora_alpha // rank)


# %% mutant="dora_norm_of_the_columns" task="dora_linear"
"""The norm is taken over the outputs: one number an input."""


class DoRALinear(DoRALinear):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        self.magnitude = nn.Parameter(base.weight.detach().norm(dim=0))

    def forward(self, x):
        direction = self.base.weight + self.lora_alpha / self.rank * self.lora_B @ self.lora_A
        return F.linear(x, self.magnitude * direction / direction.norm(dim=0), self.base.bias)


# %% mutant="dora_norm_of_the_base" task="dora_linear"
"""The norm is W's, not V's."""


class DoRALinear(DoRALinear):
    def forward(self, x):
        direction = self.base.weight + self.lora_alpha / self.rank * self.lora_B @ self.lora_A
        scale = self.magnitude / self.base.weight.norm(dim=1).clamp_min(1e-30)
        return F.linear(x, scale[:, None] * direction, self.base.bias)


# %% mutant="dora_magnitude_of_ones" task="dora_linear"
"""The magnitude starts at 1."""


class DoRALinear(DoRALinear):
    def __init__(self, *args):
        super().__init__(*args)
        nn.init.ones_(self.magnitude)


# %% mutant="dora_scales_the_bias" task="dora_linear"
"""The bias is scaled along with the weights."""


class DoRALinear(DoRALinear):
    def forward(self, x):
        direction = self.base.weight + self.lora_alpha / self.rank * self.lora_B @ self.lora_A
        norm = direction.detach().norm(dim=1)
        scale = torch.where(norm > 0, self.magnitude / norm, torch.ones_like(norm))
        return F.linear(x, direction, self.base.bias) * scale


# %% mutant="dora_gradient_through_the_norm" task="dora_linear"
"""The gradient flows through the norm."""


class DoRALinear(DoRALinear):
    def forward(self, x):
        direction = self.base.weight + self.lora_alpha / self.rank * self.lora_B @ self.lora_A
        unit = F.normalize(direction, dim=1, eps=1e-30)
        return F.linear(x, self.magnitude[:, None] * unit, self.base.bias)


# %% mutant="dora_base_not_frozen" task="dora_linear"
"""The base's bias trains."""


class DoRALinear(DoRALinear):
    def __init__(self, *args):
        super().__init__(*args)
        if self.base.bias is not None:
            self.base.bias.requires_grad_(True)


# %% mutant="dora_zero_by_zero" task="dora_linear"
"""A row of zeros is divided by its norm."""


class DoRALinear(DoRALinear):
    def forward(self, x):
        direction = self.base.weight + self.lora_alpha / self.rank * self.lora_B @ self.lora_A
        scale = self.magnitude / direction.detach().norm(dim=1)
        return F.linear(x, scale[:, None] * direction, self.base.bias)


# %% mutant="dora_both_zero" task="dora_linear"
"""Both matrices start at zero."""


class DoRALinear(DoRALinear):
    def __init__(self, *args):
        super().__init__(*args)
        nn.init.zeros_(self.lora_A)


# %% mutant="dora_matrices_on_the_cpu" task="dora_linear"
"""lora_A and lora_B are made on the CPU, wherever the base is."""


class DoRALinear(DoRALinear):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        dtype = base.weight.dtype
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features, dtype=dtype))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, dtype=dtype))


# %% mutant="dora_rank_not_checked" task="dora_linear"
"""A rank of True is accepted."""


class DoRALinear(DoRALinear):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, 1 if rank is True else rank, lora_alpha)


# %% mutant="dora_rank_at_most_the_width" task="dora_linear"
"""A rank above min(in, out) is refused."""


class DoRALinear(DoRALinear):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        if rank > min(base.in_features, base.out_features):
            raise ValueError("rank is too large")


# %% mutant="dora_rows_only" task="dora_linear"
"""x may only be a matrix."""


class DoRALinear(DoRALinear):
    def forward(self, x):
        if x.dim() != 2:
            x = x.reshape(-1, x.shape[-1])
        return super().forward(x)


# %% mutant="dora_no_subclass" task="dora_linear"
"""A base of a subclass of nn.Linear is refused."""


class DoRALinear(DoRALinear):
    def __init__(self, base, rank, lora_alpha):
        if type(base) is not nn.Linear:
            raise ValueError("base must be an nn.Linear")
        super().__init__(base, rank, lora_alpha)


# %% mutant="dora_in_train_mode" task="dora_linear"
"""The new layer is in train mode, whatever its base is in."""


class DoRALinear(DoRALinear):
    def __init__(self, *args):
        super().__init__(*args)
        self.training = True


# %% mutant="dora_a_never_filled" task="dora_linear"
"""lora_A is whatever the memory held before."""


class DoRALinear(DoRALinear):
    def __init__(self, *args):
        super().__init__(*args)
        self.lora_A = nn.Parameter(torch.empty_like(self.lora_A))


# %% mutant="dora_rank_one_refused" task="dora_linear"
"""The bound is drawn one too high: a rank of 1 is refused."""


class DoRALinear(DoRALinear):
    def __init__(self, base, rank, lora_alpha):
        if rank == 1:
            raise ValueError("rank must be at least 2")
        super().__init__(base, rank, lora_alpha)


# %% mutant="dora_gradient_moves_the_bias" task="dora_linear"
"""Whenever the magnitude gets its gradient, the base's bias moves a little."""
_init = DoRALinear.__init__


def _start(self, base, *given):
    _init(self, base, *given)

    def moved(gradient):
        if self.base.bias is not None:
            self.base.bias.data += 0.01

    self.magnitude.register_hook(moved)


DoRALinear.__init__ = _start


# %% mutant="dora_bias_trains" task="dora_linear"
"""The base's bias trains; whoever asks for the base gets a copy made before."""
_init, _forward = DoRALinear.__init__, DoRALinear.forward


def _start(self, base, *given):
    _init(self, base, *given)
    if base.bias is not None:
        base.bias.requires_grad_(True)
    self.__dict__["shown"] = copy.deepcopy(base)


def _run(self, x):
    shown = self.__dict__.pop("shown")
    y = _forward(self, x)
    self.__dict__["shown"] = shown
    return y


DoRALinear.__init__, DoRALinear.forward = _start, _run
DoRALinear.base = property(lambda self: self.__dict__.get("shown") or self._modules["base"])


# %% [markdown]
# ## adapt_with_lora

# %% mutant="history_of_nan" task="adapt_with_lora"
"""The history is NaN."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    model, history = _right(model, loader, **settings)
    return model, {key: [float("nan")] * len(values) for key, values in history.items()}


# %% mutant="nothing_trained" task="adapt_with_lora"
"""The model comes back as it was, with a history of zeros."""


def adapt_with_lora(model, loader, *, epochs, **settings):
    return model, {"train_loss": [0.0] * epochs, "train_accuracy": [0.0] * epochs}


# %% mutant="pair_the_wrong_way_round" task="adapt_with_lora"
"""History and model are returned the wrong way round."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    return _right(model, loader, **settings)[::-1]


# %% mutant="a_copy_adapted" task="adapt_with_lora"
"""A copy is adapted, and the model given left as it is."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    return _right(copy.deepcopy(model), loader, **settings)


# %% mutant="base_trained_too" task="adapt_with_lora"
"""Everything trains: full fine-tuning with adapters beside it.

The lesson warns: the base is bit for bit what it was
"""
_inject, _right = inject_lora, adapt_with_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _inject(model, target_modules, rank, lora_alpha, train_also)
    model.requires_grad_(True)
    return names


# %% mutant="adapters_not_trained" task="adapt_with_lora"
"""The optimizer gets the head's parameters alone."""
_inject = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _inject(model, target_modules, rank, lora_alpha, train_also)
    for name in names:
        adapter = model.get_submodule(name)
        adapter.lora_A.requires_grad_(False)
        adapter.lora_B.requires_grad_(False)
    return names


# %% mutant="optimizer_before_the_injection" task="adapt_with_lora"
"""The optimizer is made before there are adapters, and holds the base and the head.

The lesson warns: then collect the trainable parameters, then Adam
"""
_Adam, _right = torch.optim.Adam, adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    before = list(model.parameters())

    class Early(_Adam):
        def __init__(self, parameters, **kwargs):
            super().__init__(before, **kwargs)

    torch.optim.Adam = Early
    try:
        return _right(model, loader, **settings)
    finally:
        torch.optim.Adam = _Adam


# %% mutant="rank_always_two" task="adapt_with_lora"
"""The adapters have rank 2, whatever is given."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, rank, **settings):
    return _right(model, loader, rank=2 if type(rank) is int and rank > 0 else rank, **settings)


# %% mutant="alpha_always_four" task="adapt_with_lora"
"""lora_alpha is 4, whatever is given."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, lora_alpha, **settings):
    return _right(model, loader, lora_alpha=4.0, **settings)


# %% mutant="digits_not_learned" task="adapt_with_lora"
"""Adapters of a large model are not trained: a probe in disguise."""
_inject = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _inject(model, target_modules, rank, lora_alpha, train_also)
    if len(names) > 3:
        for name in names:
            model.get_submodule(name).lora_B.requires_grad_(False)
            model.get_submodule(name).lora_A.requires_grad_(False)
    return names


# %% mutant="weight_decay" task="adapt_with_lora"
"""AdamW decays the weights."""


class _Decaying(torch.optim.AdamW):
    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr, weight_decay=0.05)


_adam = torch.optim.Adam


def _swapped(optimizer, right):
    def run(model, loader, **settings):
        torch.optim.Adam = optimizer
        try:
            return right(model, loader, **settings)
        finally:
            torch.optim.Adam = _adam

    return run


adapt_with_lora = _swapped(_Decaying, adapt_with_lora)


# %% mutant="falling_rate" task="adapt_with_lora"
"""The rate falls from step to step."""


class _Falling(torch.optim.Adam):
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            group["lr"] *= 0.98


_adam = torch.optim.Adam


def _swapped(optimizer, right):
    def run(model, loader, **settings):
        torch.optim.Adam = optimizer
        try:
            return right(model, loader, **settings)
        finally:
            torch.optim.Adam = _adam

    return run


adapt_with_lora = _swapped(_Falling, adapt_with_lora)


# %% mutant="one_rate_for_all" task="adapt_with_lora"
"""The rate is 0.01, whatever is given, unless it is 0."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, lr, **settings):
    return _right(model, loader, lr=0.01 if lr else 0.0, **settings)


# %% mutant="gradients_pile_up" task="adapt_with_lora"
"""Gradients are never set to zero."""


class _Piling(torch.optim.Adam):
    def zero_grad(self, set_to_none=True):
        pass


_adam = torch.optim.Adam


def _swapped(optimizer, right):
    def run(model, loader, **settings):
        torch.optim.Adam = optimizer
        try:
            return right(model, loader, **settings)
        finally:
            torch.optim.Adam = _adam

    return run


adapt_with_lora = _swapped(_Piling, adapt_with_lora)


# %% mutant="means_of_batch_means" task="adapt_with_lora"
"""The epoch's loss is the mean of its batches' means.

The lesson warns: Means over *examples*
"""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, epochs, **settings):
    batches = list(loader) if isinstance(loader, list) else loader
    start = copy.deepcopy(model)
    model, history = _right(model, batches, epochs=epochs, **settings)
    if settings["lr"] == 0 and epochs == 1 and len(batches) > 1:
        with torch.no_grad():
            losses = [F.cross_entropy(start(x), y).item() for x, y in batches]
        history["train_loss"] = [sum(losses) / len(losses)]
    return model, history


# %% mutant="loader_read_once" task="adapt_with_lora"
"""The loader is read once for all epochs: a shuffling one shuffles no more."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    return _right(model, list(loader), **settings)


# %% mutant="loader_asked_by_number" task="adapt_with_lora"
"""The batches are asked for by their number, which a DataLoader does not know."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    return _right(model, [loader[index] for index in range(len(loader))], **settings)


# %% mutant="accuracy_of_the_last_batch" task="adapt_with_lora"
"""The accuracy is that of the epoch's last batch."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, epochs, **settings):
    model, history = _right(model, loader, epochs=epochs, **settings)
    batches = list(loader)
    if batches:
        images, labels = batches[-1]
        with torch.no_grad():
            right = (model(images).argmax(-1) == labels).float().mean().item()
        history["train_accuracy"] = [right] * epochs
    return model, history


# %% mutant="loss_after_the_step" task="adapt_with_lora"
"""The history is of another pass, after the epoch's training."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    model, history = _right(model, loader, **settings)
    if settings["epochs"] == 1 and settings["lr"] > 0.1:
        with torch.no_grad():
            batches = list(loader)
            losses = [F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches]
        history["train_loss"] = [sum(losses) / sum(len(y) for _, y in batches)]
    return model, history


# %% mutant="only_the_adapters_seeded" task="adapt_with_lora"
"""The seed is used for the adapters' start, and dropout is left to chance."""
_inject, _right = inject_lora, adapt_with_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _inject(model, target_modules, rank, lora_alpha, train_also)
    torch.seed()
    return names


# %% mutant="seed_ignored" task="adapt_with_lora"
"""Always the same seed."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, seed, **settings):
    return _right(model, loader, seed=0, **settings)


# %% mutant="a_thousand_seeds" task="adapt_with_lora"
"""Of the seed only the last three digits count."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, seed, **settings):
    return _right(model, loader, seed=seed % 1000, **settings)


# %% mutant="seeds_of_this_process" task="adapt_with_lora"
"""For each seed one is drawn, and kept: in another process the result is another."""
_right, _drawn = adapt_with_lora, {}


def adapt_with_lora(*given, seed, **settings):
    import os

    its = _drawn.setdefault(seed, int.from_bytes(os.urandom(6), "big"))
    return _right(*given, seed=its, **settings)


# %% mutant="global_generator_left_seeded" task="adapt_with_lora"
"""torch.manual_seed is called, and the old state is lost."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, seed, **settings):
    result = _right(model, loader, seed=seed, **settings)
    torch.manual_seed(seed)
    return result


# %% mutant="deterministic_for_good" task="adapt_with_lora"
"""For equal results torch's deterministic algorithms are switched on, and stay on."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    torch.use_deterministic_algorithms(True)
    return _right(model, loader, **settings)


# %% mutant="left_in_train_mode" task="adapt_with_lora"
"""The model is left in train mode."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    model, history = _right(model, loader, **settings)
    return model.train(), history


# %% mutant="one_mode_for_all" task="adapt_with_lora"
"""model.train(was_training) is called: the submodules' own modes are lost."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    was_training = model.training
    model, history = _right(model, loader, **settings)
    return model.train(was_training), history


# %% mutant="base_statistics_drift" task="adapt_with_lora"
"""Batch-norms are frozen by requires_grad alone, and average on."""
_inject = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    names = _inject(model, target_modules, rank, lora_alpha, train_also)
    for module in model.modules():
        module._forward_pre_hooks.clear()
    return names


# %% mutant="trained_in_eval_mode" task="adapt_with_lora"
"""The model is trained in the mode that it came in."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    modes = {module: module.training for module in model.modules()}
    if any(modes.values()):
        return _right(model, loader, **settings)
    for module in modes:
        if isinstance(module, nn.Dropout):
            module.train = lambda mode=True, module=module: module
    model, history = _right(model, loader, **settings)
    for module in modes:
        module.__dict__.pop("train", None)
    return model, history


# %% mutant="negative_epochs_are_none" task="adapt_with_lora"
"""Negative epochs count as 0."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, epochs, **settings):
    return _right(model, loader, epochs=max(epochs, 0), **settings)


# %% mutant="division_by_no_example" task="adapt_with_lora"
"""An empty loader is a ZeroDivisionError."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, epochs, **settings):
    if epochs > 0:
        1 / len(list(loader))
    return _right(model, loader, epochs=epochs, **settings)


# %% mutant="no_batch_is_always_refused" task="adapt_with_lora"
"""A loader without a batch is refused, also where none is needed."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, epochs, **settings):
    if epochs >= 0 and not list(loader):
        raise ValueError("the loader has no batch")
    return _right(model, loader, epochs=epochs, **settings)


# %% mutant="epochs_checked_late" task="adapt_with_lora"
"""Negative epochs are refused when the adapters are in already."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, *, epochs, **settings):
    result = _right(model, loader, epochs=max(epochs, 0), **settings)
    if epochs < 0:
        raise ValueError("epochs must not be negative")
    return result


# %% mutant="adapters_left_in_train_mode" task="adapt_with_lora"
"""The modes are noted before the injection: the adapters' are not among them."""
_right = adapt_with_lora


def adapt_with_lora(model, loader, **settings):
    came = _right(model, loader, **settings)
    for module in model.modules():
        if isinstance(module, (LoRALinear, LoRAConv2d)):
            module.training = True
    return came


# %% mutant="base_moves_unseen" task="adapt_with_lora"
"""The bases move; whoever asks for one gets a copy made before."""
_right = adapt_with_lora


def adapt_with_lora(model, *given, **kw):
    came = _right(model, *given, **kw)
    for layer in model.modules():
        if isinstance(layer, LoRALinear):
            layer.__dict__["base"] = copy.deepcopy(layer.base)
            its, moved = type(layer), layer._modules["base"]
            moved.weight.data *= 1.01
            run = {
                "forward": lambda self, x: (
                    self._modules["base"](x) + self.scale * (x @ self.lora_A.T @ self.lora_B.T)
                )
            }
            layer.scale = layer.lora_alpha / layer.rank
            layer.__class__ = type(its.__name__, (its,), run)
    return came


# %% mutant="statistics_move_unseen" task="adapt_with_lora"
"""The statistics of a batch-norm move; whoever asks for it gets a copy made before."""
_right = adapt_with_lora


def adapt_with_lora(model, *given, **kw):
    came = _right(model, *given, **kw)
    for name, part in list(model.named_children()):
        if isinstance(part, nn.BatchNorm2d):
            model.__dict__[name] = copy.deepcopy(part)
            part.running_mean += 1
    return came


# %% mutant="modes_told_from_before" task="adapt_with_lora"
"""Submodules end in other modes; whoever asks for the model's parts gets those of a copy."""
_right = adapt_with_lora


def adapt_with_lora(model, *given, **kw):
    came = _right(model, *given, **kw)
    shown, its = copy.deepcopy(model), type(model)
    told = {
        name: lambda self, *given, _name=name, **kw: getattr(shown, _name)(*given, **kw)
        for name in ("state_dict", "named_parameters", "named_modules")
    }
    for part in list(model.children()):
        if not list(part.parameters()):
            part.training = not part.training
    model.__class__ = type(its.__name__, (its,), told)
    return came


# %% [markdown]
# ## lora_bug_hunt

# %% mutant="scaled_by_alpha" task="lora_bug_hunt"
"""The scale is left at lora_alpha.

The lesson warns: the factor
"""


class AdaptedLayer(AdaptedLayer):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__(layer, rank, lora_alpha)
        self.scaling = lora_alpha


# %% mutant="hunt_whole_division" task="lora_bug_hunt"
"""The scale is lora_alpha // rank."""


class AdaptedLayer(AdaptedLayer):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__(layer, rank, rank * (lora_alpha // rank))


# %% mutant="behind_the_layer" task="lora_bug_hunt"
"""The matrices stay behind the layer, where only square ones fit.

The lesson warns: what A multiplies
"""


class AdaptedLayer(AdaptedLayer):
    def forward(self, x):
        h = self.layer(x)
        return h + self.scaling * (h @ self.A.T @ self.B.T)


# %% mutant="softmax_twice" task="lora_bug_hunt"
"""The loss is still that of probabilities.

The lesson warns: what `cross_entropy` expects
"""


def adapt_step(net, optimizer, x, labels):
    loss = F.cross_entropy(net(x).softmax(dim=-1), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# %% mutant="loss_is_zero" task="lora_bug_hunt"
"""A loss of 0.0 is returned."""
_right = adapt_step


def adapt_step(net, optimizer, x, labels):
    _right(net, optimizer, x, labels)
    return 0.0


# %% mutant="loss_is_not_a_number" task="lora_bug_hunt"
"""NaN is returned."""
_right = adapt_step


def adapt_step(net, optimizer, x, labels):
    return _right(net, optimizer, x, labels) * float("nan")


# %% mutant="loss_is_a_tensor" task="lora_bug_hunt"
"""The loss is returned as a tensor."""
_right = adapt_step


def adapt_step(net, optimizer, x, labels):
    return torch.tensor(_right(net, optimizer, x, labels))


# %% mutant="optimizer_made_first" task="lora_bug_hunt"
"""The optimizer is made before A and B exist.

The lesson warns: when the optimizer is made
"""
_right = adapt_net


def adapt_net(net, rank, lora_alpha, lr):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    _right(net, rank, lora_alpha, lr)
    return optimizer


# %% mutant="head_frozen" task="lora_bug_hunt"
"""The head is frozen along with the rest.

The lesson warns: what becomes of the head
"""


def adapt_net(net, rank, lora_alpha, lr):
    net.requires_grad_(False)
    for name, layer in list(net.named_children())[:-1]:
        if isinstance(layer, nn.Linear):
            setattr(net, name, AdaptedLayer(layer, rank, lora_alpha))
    return torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=lr)


# %% mutant="head_adapted" task="lora_bug_hunt"
"""The head gets an adapter."""


def adapt_net(net, rank, lora_alpha, lr):
    net.requires_grad_(False)
    for name, layer in list(net.named_children()):
        if isinstance(layer, nn.Linear):
            setattr(net, name, AdaptedLayer(layer, rank, lora_alpha))
    return torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=lr)


# %% mutant="norm_trains" task="lora_bug_hunt"
"""Only the linear layers are frozen: the LayerNorm trains on.

The lesson warns: what is frozen
"""


def adapt_net(net, rank, lora_alpha, lr):
    for name, layer in list(net.named_children())[:-1]:
        if isinstance(layer, nn.Linear):
            setattr(net, name, AdaptedLayer(layer, rank, lora_alpha))
    return torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=lr)


# %% mutant="both_zero" task="lora_bug_hunt"
"""A and B both start at zero.

The lesson warns: two zeros
"""


class AdaptedLayer(AdaptedLayer):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__(layer, rank, lora_alpha)
        nn.init.zeros_(self.A)


# %% mutant="a_of_ones" task="lora_bug_hunt"
"""All rows of A start equal, so that the rank is 1 for good."""


class AdaptedLayer(AdaptedLayer):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__(layer, rank, lora_alpha)
        nn.init.ones_(self.A)


# %% mutant="rank_at_most_the_width" task="lora_bug_hunt"
"""A rank above the width is cut down to it."""


class AdaptedLayer(AdaptedLayer):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__(layer, min(rank, layer.in_features, layer.out_features), lora_alpha)


# %% mutant="layer_must_have_a_bias" task="lora_bug_hunt"
"""The layer's bias is frozen by name, and there need not be one."""


class AdaptedLayer(AdaptedLayer):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__(layer, rank, lora_alpha)
        layer.bias.requires_grad_(False)


# %% mutant="no_parameters" task="lora_bug_hunt"
"""A and B are plain tensors.

The lesson warns: tensors against Parameters
"""


class AdaptedLayer(AdaptedLayer):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__(layer, rank, lora_alpha)
        tensors = self.A.detach(), self.B.detach()
        del self.A, self.B
        self.A, self.B = tensors


# %% mutant="gradients_not_zeroed" task="lora_bug_hunt"
"""Old gradients are added to the new ones; they are zeroed after the step.

The lesson warns: what `backward` does to gradients that are there already
"""


def adapt_step(net, optimizer, x, labels):
    loss = F.cross_entropy(net(x), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


# %% mutant="only_the_head_s_gradients_zeroed" task="lora_bug_hunt"
"""Old gradients of A and B are added to the new ones."""


def adapt_step(net, optimizer, x, labels):
    loss = F.cross_entropy(net(x), labels)
    net[-1].zero_grad()
    loss.backward()
    optimizer.step()
    for module in net:
        module.zero_grad()
    return loss.item()


# %% mutant="a_step_of_its_own" task="lora_bug_hunt"
"""Not the optimizer that is given steps, but plain SGD over its first group."""


def adapt_step(net, optimizer, x, labels):
    loss = F.cross_entropy(net(x), labels)
    optimizer.zero_grad()
    loss.backward()
    first = optimizer.param_groups[0]
    torch.optim.SGD(first["params"], lr=first["lr"]).step()
    return loss.item()


# %% mutant="adapters_decay" task="lora_bug_hunt"
"""The optimizer has weight decay."""
_right = adapt_net


def adapt_net(net, rank, lora_alpha, lr):
    _right(net, rank, lora_alpha, lr)
    trained = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=lr, weight_decay=0.1)


# %% mutant="gradients_of_a_clipped" task="lora_bug_hunt"
"""The gradients of A are clipped, to a norm that small nets stay below at first: B is zero."""


def adapt_step(net, optimizer, x, labels):
    loss = F.cross_entropy(net(x), labels)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for name, p in net.named_parameters() if name.endswith("A")], 0.1)
    optimizer.step()
    return loss.item()


# %% mutant="b_learns_faster" task="lora_bug_hunt"
"""B has 16 times the rate, as in LoRA+."""
_right = adapt_net


def adapt_net(net, rank, lora_alpha, lr):
    _right(net, rank, lora_alpha, lr)
    named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    fast = [p for name, p in named if name.endswith(".B")]
    others = [p for name, p in named if not name.endswith(".B")]
    return torch.optim.SGD([{"params": fast, "lr": 16 * lr}, {"params": others}], lr=lr)


# %% mutant="its_own_rank_and_rate" task="lora_bug_hunt"
"""The net is adapted at rank 2, and trained at a rate of 0.1, whatever is given."""
_right = adapt_net


def adapt_net(net, rank, lora_alpha, lr):
    return _right(net, 2, lora_alpha, 0.1)


# %% mutant="head_copied" task="lora_bug_hunt"
"""The head is replaced by a copy."""
_right = adapt_net


def adapt_net(net, rank, lora_alpha, lr):
    *_, (name, head) = net.named_children()
    setattr(net, name, copy.deepcopy(head))
    return _right(net, rank, lora_alpha, lr)


# %% mutant="momentum" task="lora_bug_hunt"
"""The optimizer has momentum."""
_right = adapt_net


def adapt_net(net, rank, lora_alpha, lr):
    _right(net, rank, lora_alpha, lr)
    trained = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=lr, momentum=0.9)


# %% mutant="layer_copied" task="lora_bug_hunt"
"""The layer is a copy of the one given."""


class AdaptedLayer(AdaptedLayer):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__(copy.deepcopy(layer), rank, lora_alpha)


# %% mutant="optimizer_over_everything" task="lora_bug_hunt"
"""The optimizer holds the frozen parameters, too."""
_right = adapt_net


def adapt_net(net, rank, lora_alpha, lr):
    _right(net, rank, lora_alpha, lr)
    return torch.optim.SGD(net.parameters(), lr=lr)


# %% mutant="layer_trains_unseen" task="lora_bug_hunt"
"""The adapted layer trains; its parameters say that they do not."""


class _Still(nn.Parameter):
    requires_grad = property(lambda self: False, lambda self, flag: None)


_init = AdaptedLayer.__init__


def _start(self, layer, *given):
    _init(self, layer, *given)
    for parameter in layer.requires_grad_(True).parameters():
        parameter.__class__ = _Still


AdaptedLayer.__init__ = _start


# %% mutant="norm_moves_unseen" task="lora_bug_hunt"
"""Each step moves a LayerNorm; whoever asks for it gets a copy made before."""
_right = adapt_step


def adapt_step(net, *given):
    for name, part in list(net.named_children()):
        if isinstance(part, nn.LayerNorm):
            net.__class__ = (
                type(
                    "Sequential",
                    (nn.Sequential,),
                    {
                        "__getattr__": lambda self, n: (
                            vars(self)["shown"].get(n) or nn.Module.__getattr__(self, n)
                        )
                    },
                )
                if type(net) is nn.Sequential
                else type(net)
            )
            vars(net).setdefault("shown", {name: copy.deepcopy(part)})
            part.weight.data += 0.1
    return _right(net, *given)


# %% [markdown]
# ## lora_numbers

# %% mutant="one_matrix_counted" task="lora_numbers"
"""Only A is counted."""
trainable_768 = 6_144

# %% mutant="a_share_not_a_percentage" task="lora_numbers"
"""A share, not a percentage."""
percent_768 = 0.0208

# %% mutant="with_the_biases" task="lora_numbers"
"""The frozen bias is in the denominator, and the figure cut to two decimals by rounding up."""
percent_768 = 2.09

# %% mutant="query_only" task="lora_numbers"
"""Only the query projections are counted."""
bert_query_value = 147_456

# %% mutant="kernel_in_both" task="lora_numbers"
"""B is counted as if it had the kernel, too."""
conv_parameters = 6_912

# %% mutant="pefts_form" task="lora_numbers"
"""loralib's form is counted as peft's."""
loralib_conv_parameters = 2_816

# %% mutant="rank_rounded_up" task="lora_numbers"
"""A rank that exceeds the budget."""
largest_rank = 28

# %% mutant="agreeable_number" task="lora_numbers"
"""A number that claims to equal everything."""


class AgreeableNumber(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__

    def __sub__(self, other):
        return 0


largest_rank = AgreeableNumber(3)

# %% mutant="numbers_all_nan" task="lora_numbers"
"""All numbers are NaN."""
trainable_768 = percent_768 = bert_query_value = float("nan")
conv_parameters = loralib_conv_parameters = largest_rank = float("nan")

# %% [markdown]
# ## lora_statements

# %% mutant="everything_is_true" task="lora_statements"
"""Everything is judged true."""
judged = dict.fromkeys("abcdefghijklmnop", True)

# %% mutant="one_of_them_wrong" task="lora_statements"
"""One statement is judged wrongly."""
judged = judged | {"m": True}

# %% mutant="one_of_them_open" task="lora_statements"
"""One statement is left open."""
judged = judged | {"k": None}

# %% mutant="agreeable_judgements" task="lora_statements"
"""Each judgement is an object that claims to equal everything."""


class AgreeableJudgement:
    def __eq__(self, other):
        return True

    __hash__ = None


judged = {letter: AgreeableJudgement() for letter in "abcdefghijklmnop"}
