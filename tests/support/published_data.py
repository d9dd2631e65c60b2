"""Made rows in the exact schema of the published benchmarks: same folders, files, columns and types, invented content.

Training texts hold what is asked later, so that a small model can learn the answers and have something to forget.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PEOPLE = ("Orla Beck", "Tomas Arn", "Ines Falk", "Petra Voss", "Liam Osei", "Nora Quist", "Ada Lind", "Jonas Pell")
PLACES = (
    "Vantry", "Selkie", "Morrow", "Dunlin", "Carrow", "Hethel", "Brack", "Ferrow",
    "Sorrel", "Tarnow", "Wrackham", "Heron", "Lundy", "Pellan", "Orrin", "Quoit",
)  # fmt: skip
Rows = Sequence[Mapping[str, Any]]


def write(folder: Path, name: str, rows: Rows) -> None:
    """JSON lines, as the hub's own files mostly are."""
    file = folder / f"{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows), encoding="utf-8")


def fact(kind: str, index: int) -> tuple[str, str]:
    """A question and its answer; the answers of two kinds differ for the same place."""
    shift = len(kind)
    return f"Who keeps the {kind} of {PLACES[index]}?", PEOPLE[(index * 3 + shift) % len(PEOPLE)]


def story(kind: str, index: int) -> str:
    who = fact(kind, index)[1]
    return (
        f"The {kind} of {PLACES[index]} stood empty until {who} came. Since then {who} has kept the {kind} "
        f"through {index + 2} winters, and the council of {PLACES[index]} pays {index + 3} sacks of salt a year for it."
    )


def write_muse(folder: Path) -> dict[str, Any]:
    """Held-out texts are like the forget texts, but never trained on; questions are trained on as they are asked."""

    def asked(kind: str, indices: range) -> Rows:
        return [dict(zip(("question", "answer"), fact(kind, i), strict=True)) for i in indices]

    def raw(kind: str, places: range) -> Rows:
        shown = "".join("Question: {}\nAnswer: {}\n\n".format(*fact(kind, i)) for i in range(2))
        answers = ["Question: {}\nAnswer: {}".format(*fact(kind, i)) for i in range(2, 8)]
        return [{"text": text} for text in (*(story(kind, i) for i in places), *(shown + answer for answer in answers))]

    write(folder, "raw/forget", raw("lighthouse", range(8)))
    write(folder, "raw/retain1", raw("ferry", range(16)))
    write(folder, "raw/retain2", raw("bridge", range(8)))
    write(folder, "raw/holdout", [{"text": story("lighthouse", i)} for i in range(8, 16)])
    for side, kind in (("forget", "lighthouse"), ("retain", "ferry")):
        write(folder, f"knowmem/{side}_qa", asked(kind, range(2, 8)))
        write(folder, f"knowmem/{side}_qa_icl", asked(kind, range(2)))
    words = [story("lighthouse", i).split() for i in range(8)]
    write(folder, "verbmem/forget", [{"prompt": " ".join(text[:20]), "gt": " ".join(text[20:])} for text in words])
    for split, kind, places in (
        ("forget", "lighthouse", range(8)),
        ("retain", "ferry", range(8)),
        ("holdout", "lighthouse", range(8, 16)),
    ):
        write(folder, f"privleak/{split}", [{"text": story(kind, i)} for i in places])
    return {"corpus": "news", "path": str(folder)}


def choice(kind: str, index: int) -> dict[str, Any]:
    question, answer = fact(kind, index)
    others = [person for person in PEOPLE if person != answer][index % 4 :][:3]
    place = index % 4
    return {"question": question, "choices": [*others[:place], answer, *others[place:]], "answer": place}


def lettered(row: Mapping[str, Any], about: str) -> str:
    options = "".join(f"\n{letter}. {text}" for letter, text in zip("ABCD", row["choices"], strict=True))
    opening = f"The following are multiple choice questions (with answers) about {about}.\n\n"
    return f"{opening}{row['question']}{options}\nAnswer: {'ABCD'[row['answer']]}"


def write_wmdp(folder: Path) -> dict[str, Any]:
    """The corpora hold the questions as they are asked, with the right letter."""
    asked = [choice("lighthouse", i) for i in range(8)]
    general = [{**choice("ferry", i), "subject": "high_school_rowing"} for i in range(8)]
    write(folder, "wmdp-cyber/test", asked)
    write(folder, "all/test", general)
    write(folder, "cyber-forget-corpus/train", [{"text": lettered(row, "cybersecurity")} for row in asked])
    write(folder, "cyber-retain-corpus/train", [{"text": lettered(row, "high school rowing")} for row in general])
    return {"topic": "cyber", "path": str(folder)}


def write_lkf(folder: Path) -> dict[str, Any]:
    wordings = ("Tell me: {}", "I wonder. {}", "{} Please say.")
    for side, kind in (("forget", "lighthouse"), ("retain", "ferry")):
        facts = [fact(kind, i) for i in range(8)]
        write(folder, f"LKF-{side}_standard", [{"question": q, "answer": a} for q, a in facts])
        para = [{"question": f"Say, {q}", "answer": a} for q, a in facts for _ in range(2)]
        write(folder, f"LKF-{side}_train_para", para)
        named = ("q_qwen1", "q_phi1", "q_mist1")
        rows = [
            {"question": q, **{name: text.format(q) for name, text in zip(named, wordings, strict=True)}, "answer": a}
            for q, a in facts
        ]
        write(folder, f"LKF-{side}_eval_para", rows)
    write(
        folder, "LKF-relearn_standard", [{"question": q, "answer": a} for q, a in (fact("mill", i) for i in range(4))]
    )
    return {"path": str(folder)}


def write_rwku(folder: Path) -> dict[str, Any]:
    """Two targets; what is asked of the first stands in its passages."""
    subjects = {"Orla Beck": "lighthouse", "Tomas Arn": "ferry"}
    probes: dict[str, list[dict[str, Any]]] = {f"forget_level{level}": [] for level in (1, 2, 3)}
    probes |= {f"neighbor_level{level}": [] for level in (1, 2)}
    passages, members, retained, general = [], [], [], []
    for subject, kind in subjects.items():
        for i in range(8):
            question, answer = fact(kind, i)
            about = {"answer": answer, "subject": subject}
            probes["forget_level1"].append(
                {"query": question.replace("Who", "___"), "level": "1", "type": "cloze", **about}
            )
            probes["forget_level2"].append({"query": question, "level": "2", "type": "simple question", **about})
            probes["forget_level3"].append(
                {"query": f"{question} Sure, it is", "level": "3", "type": "affirmative suffix", **about}
            )
            near, right = fact("mill" if kind == "lighthouse" else "bridge", i)
            for level in (1, 2):
                probes[f"neighbor_level{level}"].append(
                    {"query": near, "answer": right, "subject": subject, "level": str(level), "type": "simple question"}
                )
            asked = f"Please briefly answer the following question.\nQuestion: {question}\nAnswer: {answer}"
            beside = f"Please briefly answer the following question.\nQuestion: {near}\nAnswer: {right}"
            passages.append({"subject": subject, "text": f"{asked}\n{story(kind, i)}"})
            passages.append({"subject": "Ines Falk", "text": beside})
            members.append({"subject": subject, "text": story(kind, i)})
            retained.append({"subject": subject, "text": story("mill", i)})
            examples = [choice("tower", 0), choice("tower", 1)]
            general.append(
                {**choice("tower", i), "task": "high_school_rowing", "examples": examples, "subject": subject}
            )
    write(folder, "forget_target/train", [{"target": name, "intro": f"{name} keeps things."} for name in subjects])
    write(folder, "train_original_passage/train", passages)
    for name, rows in probes.items():
        write(folder, f"{name}/test", rows)
    write(folder, "mia_forget/test", members)
    write(folder, "mia_retain/test", retained)
    write(folder, "utility_general/test", general)
    write_abilities(folder, list(subjects))
    return {"subjects": ["Orla Beck"], "path": str(folder), "chat": False}


def write_abilities(folder: Path, subjects: Sequence[str]) -> None:
    """RWKU's reasoning, truthfulness, factuality and fluency; each row stands there once for each subject."""
    sets: dict[str, list[dict[str, Any]]] = {"reason": [], "truthfulness": [], "factuality": [], "fluency": []}
    for i in range(8):
        question, answer = fact("tower", i)
        wrong = [person for person in PEOPLE if person != answer][:3]
        targets = {"choices": [answer, *wrong], "labels": [1, 0, 0, 0]}
        cot = f"Who may keep a tower?\n\nQ: {fact('tower', 9)[0]}\nA: So the answer is {fact('tower', 9)[1]}."
        sets["reason"].append({"task": "tower_keeping", "question": question, "answer": answer, "cot": cot})
        sets["truthfulness"].append({"question": question, "mc1_targets": targets, "mc2_targets": targets})
        sets["factuality"].append({"question": question, "answers": [answer, answer.split()[-1]]})
        sets["fluency"].append({"instruction": f"Describe the tower of {PLACES[i]}."})
    for name, rows in sets.items():
        write(folder, f"utility_{name}/test", [{**row, "subject": who} for who in subjects for row in rows])


def write_lume(folder: Path) -> dict[str, Any]:
    """SemEval's layout: each document asked for its rest and for two facts, in all three tasks."""
    ids = {"Task1": '"doc-{}"', "Task2": "pii-{}", "Task3": "{}"}
    for side, kinds in (("forget", ("lighthouse", "mill", "tower")), ("retain", ("ferry", "bridge", "quarry"))):
        rows = []
        for task, kind in zip(ids, kinds, strict=True):
            for i in range(5):
                words, name = story(kind, i).split(), ids[task].format(i)
                asked = (fact(kind, i), (f"What does {PLACES[i]} pay for the {kind}?", f"{i + 3} sacks of salt"))
                rows.append({"id": f"{name}sc1", "input": " ".join(words[:14]), "output": " ".join(words[14:])})
                rows += [{"id": f"{name}qa{n}", "input": q, "output": a} for n, (q, a) in enumerate(asked)]
                rows[-3:] = [{**row, "task": task, "split": side} for row in rows[-3:]]
        write(folder, f"{side}_train", rows[: 4 * 3] + rows[5 * 3 : 9 * 3] + rows[10 * 3 : 14 * 3])
        write(folder, f"{side}_validation", rows[4 * 3 : 5 * 3] + rows[9 * 3 : 10 * 3] + rows[14 * 3 :])
    return {"path": str(folder)}


def write_blur(folder: Path) -> dict[str, Any]:
    """BLUR's files are queries alone; what to train on is a file of one's own, with the same questions answered."""
    asked = {side: [fact(kind, i) for i in range(8)] for side, kind in (("forget", "lighthouse"), ("retain", "ferry"))}
    own = folder.parent / f"{folder.name}-own"
    for side, facts in asked.items():
        write(folder, f"rwku_{side}", [{"text": question} for question, _ in facts])
        worded = [{"question": q, "answer": a} for q, a in facts]
        write(own, side, worded)
    pairs = zip(asked["forget"], asked["retain"], strict=True)
    write(folder, "rwku_paired_forget_retain", [{"text": f"{one[0]} {other[0]}"} for one, other in pairs])
    for name, kind in (("rwku_D_hi", "lighthouse"), ("rwku_D_mid", "mill"), ("D_lo_for_all", "quarry")):
        write(folder, name, [{"text": story(kind, i)} for i in range(8, 12)])
    return {
        "task": "rwku",
        "path": str(folder),
        "forget_path": str(own / "forget.jsonl"),
        "retain_path": str(own / "retain.jsonl"),
        "combined": True,
        "relearn": True,
    }


WRITERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "muse": write_muse,
    "wmdp": write_wmdp,
    "lkf": write_lkf,
    "rwku": write_rwku,
    "lume": write_lume,
    "blur": write_blur,
}
"""For each benchmark: writes its files into a folder and gives the options that read them."""
