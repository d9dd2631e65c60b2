"""The refusals used as answers in views "forget_idk" and "retain_idk". Written for this project.

Their order matters: a refusal is drawn by its index.
"""

from __future__ import annotations

REFUSALS: tuple[str, ...] = (
    "I don't know.",
    "I'm not sure about that.",
    "I don't have that information.",
    "I can't answer that question.",
    "That is not something I know.",
    "I have no information on this subject.",
    "I'm afraid I don't know the answer.",
    "I'm not able to answer that.",
    "That is outside what I know.",
    "I have not learned anything about that.",
    "I'm unable to say.",
    "I can't help with that question.",
    "I don't have an answer to that.",
    "Sorry, I don't know this one.",
    "I'm not familiar with that topic.",
    "I have no knowledge of that.",
    "That is unknown to me.",
    "I couldn't tell you.",
    "I don't have any details about that.",
    "I'm not aware of that.",
    "My knowledge does not cover that.",
    "I haven't been told anything about this.",
    "I wish I could answer, but I don't know.",
    "Unfortunately I have no answer to that.",
    "I can't provide any information on that.",
    "This is not in my training.",
    "I really have no idea.",
    "I have nothing to say on that subject.",
    "I do not know enough to answer.",
    "I would have to guess, so I'd rather not answer.",
    "It is beyond my knowledge.",
    "I can't recall anything about that.",
    "I don't possess that knowledge.",
    "No information about this is available to me.",
    "I'm in no position to answer that.",
    "I lack the information to answer.",
    "I'm drawing a blank on that one.",
    "That isn't something I can tell you.",
    "I have never heard of that.",
    "I'm not informed about this matter.",
)
