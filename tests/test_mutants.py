"""The generated mutants: what is changed, what kills one, and the record of the equivalent ones."""

import click
import pytest
from click.testing import CliRunner

from scripts import mutants, mutation

CELL = '''
def f(x, y, dim=1):
    """The docstring stays."""
    ### BEGIN SOLUTION
    with torch.no_grad():
        z = x.detach() - y  # é
        if not z.any() or dim < 2:
            raise ValueError("not " + "mutated")
        z = z * 2
    return (x + y) * z.sum(dim=0)
    ### END SOLUTION


given = 1 + 1
'''


def changes(cell):
    return [each.change for each in mutation.mutants(cell)]


@pytest.mark.parametrize(
    "removed, added",
    [
        ("def f(x, y, dim=1):", "def f(x, y, dim=2):"),
        ("    with torch.no_grad():", "    if True:"),
        ("        z = x.detach() - y  # é", "        z = x - y  # é"),
        ("        z = x.detach() - y  # é",
         "        z = y - x.detach()  # é"),
        ("        if not z.any() or dim < 2:", "        if z.any() or dim < 2:"),
        ("        if not z.any() or dim < 2:", "        if not z.any() and dim < 2:"),
        ("        if not z.any() or dim < 2:", "        if not z.any() or dim <= 2:"),
        ("        if not z.any() or dim < 2:", "        if not (not z.any() or dim < 2):"),
        ("        if not z.any() or dim < 2:", "        if not z.all() or dim < 2:"),
        ("        z = z * 2", "        pass"),
        ("        z = z * 2", "        z *= 2"),
        ("        z = z * 2", "        z = z * 3"),
        ("    return (x + y) * z.sum(dim=0)", "    return (x - y) * z.sum(dim=0)"),
        ("    return (x + y) * z.sum(dim=0)", "    return (x + y) * z.sum(dim=-1)"),
        ("    return (x + y) * z.sum(dim=0)", "    return (x + y) * z.sum()"),
        ("    return (x + y) * z.sum(dim=0)", "    return (x + y) * z.mean(dim=0)"),
    ],
)  # fmt: skip
def test_each_operator_changes_one_place(removed, added):
    assert f"-{removed}\n+{added}" in changes(CELL)


def test_the_solution_and_its_defaults_are_changed_and_nothing_else():
    found = mutation.mutants(CELL)
    assert all(mutant.where == "f" for mutant in found)
    assert not [each for each in changes(CELL) if "docstring" in each or "given" in each]
    assert not [each for each in changes(CELL) if "+            raise" in each]
    assert len({mutant.source for mutant in found}) == len(found)


def test_every_mutant_of_every_reference_is_python_and_known_by_its_key():
    for lesson in mutants.LESSONS:
        for task, cell in mutants.reference.reference_cells(lesson):
            found = mutation.mutants(cell) if task else []
            for mutant in found:
                compile(mutant.source, task, "exec")
            assert len({mutants.key(mutant) for mutant in found}) == len(found)


def explained(record):
    return record.replace('reason = ""', 'reason = "why"')


@pytest.mark.parametrize("lesson", mutants.LESSONS)
def test_what_is_recorded_as_equivalent_is_made(lesson):
    cells = dict(mutants.reference.reference_cells(lesson))
    for task, record in mutants.recorded(lesson).items():
        assert (
            record.keys() - {mutants.key(each) for each in mutation.mutants(cells[task])} == set()
        )


def test_a_record_is_read_as_it_is_printed_and_refused_without_a_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "BANK", tmp_path)
    (tmp_path / "lora").mkdir()
    cell = dict(mutants.reference.reference_cells("lora"))["lora_linear"]
    mutant = mutation.mutants(cell)[0]
    text = mutants.as_record("lora_linear", mutant)
    (tmp_path / "lora" / "equivalents.toml").write_text(explained(text))
    assert mutants.recorded("lora") == {"lora_linear": {mutants.key(mutant): "why"}}
    (tmp_path / "lora" / "equivalents.toml").write_text(text)
    with pytest.raises(click.ClickException, match="a reason is missing in lora_linear"):
        mutants.recorded("lora")


def test_survivors_and_stale_records_are_told_and_make_the_exit_code_1(tmp_path, monkeypatch, warm):
    """Two mutants, of which one loses its points; neither the record nor the checks know better."""
    monkeypatch.setattr(mutants, "BANK", tmp_path)
    (tmp_path / "lora").mkdir()
    numbers = dict(mutants.reference.reference_cells("lora"))["lora_numbers"]
    wrong = numbers.replace("trainable_768 = 12_288", "trainable_768 = 12_289")
    right = numbers.replace("trainable_768 = 12_288", "trainable_768 = 12_287 + 1")
    assert numbers not in (wrong, right)
    made = [
        mutation.Mutant("", "-a\n+wrong", 1, wrong),
        mutation.Mutant("", "-a\n+right", 1, right),
    ]
    monkeypatch.setattr(mutation, "mutants", lambda cell: made)
    graded = ["lora_numbers", "lora_statements"]  # of the lesson, so that it takes a second
    monkeypatch.setattr(mutants, "tasks_of", lambda lesson, only: [only] if only else graded)
    call = ["--lesson", "lora", "--task", "lora_numbers", "--jobs", "1"]

    ended = CliRunner().invoke(mutants.main, call)
    assert ended.exit_code == 1, ended.output
    assert mutants.as_record("lora_numbers", made[1]) in ended.output
    assert "+wrong" not in ended.output
    assert "50.0%" in ended.output

    records = [explained(mutants.as_record("lora_numbers", each)) for each in made]
    path = tmp_path / "lora" / "equivalents.toml"
    path.write_text(records[1])
    ended = CliRunner().invoke(mutants.main, call)
    assert ended.exit_code == 0, ended.output
    assert "100.0%" in ended.output

    path.write_text("".join(records) + records[1].replace("right", "gone"))
    ended = CliRunner().invoke(mutants.main, call)
    assert ended.exit_code == 1, ended.output
    assert "recorded as equivalent, but it loses points: \n-a\n+wrong" in ended.output
    assert "recorded as equivalent, but no such mutant is made: \n-a\n+gone" in ended.output


def test_the_command_says_what_it_does_and_refuses_what_it_does_not_know():
    said = CliRunner().invoke(mutants.main, ["--help"])
    assert said.exit_code == 0 and "equivalents.toml" in said.output
    ended = CliRunner().invoke(mutants.main, ["--lesson", "lora", "--task", "lora_liner"])
    assert ended.exit_code == 2 and "lora_liner" in ended.output
