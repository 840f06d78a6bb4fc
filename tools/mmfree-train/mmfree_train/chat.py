"""Conversations: messages to ids by a chat template, with which of them are answers."""

import jinja2
import jinja2.sandbox

from .errors import Failure
from .tokenizer import TextTokenizer

ROLES = ("system", "user", "assistant")


class Chat:
    """Renders messages as a server does, and knows the answers in the text."""

    def __init__(self, tokenizer: TextTokenizer):
        self.tokenizer = tokenizer
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _raise
        try:
            self.template = environment.from_string(tokenizer.chat_template())
        except jinja2.TemplateError as error:
            raise Failure(f"{tokenizer.where}: its chat template cannot be read: {error}") from None

    def render(self, messages: list[dict], prompt: bool) -> str:
        """The text of messages; with `prompt` it ends where the next answer begins."""
        try:
            return self.template.render(
                messages=messages,
                add_generation_prompt=prompt,
                bos_token=self.tokenizer.token("bos_token") or "",
                eos_token=self.tokenizer.token("eos_token") or "",
            )
        except jinja2.TemplateError as error:
            raise Failure(f"the chat template does not render it: {error}") from None

    def encode(self, messages: list[dict]) -> tuple[list[int], list[bool]]:
        """Ids of a conversation, and for each whether it belongs to an answer, its end token included."""
        check_messages(messages)
        text = self.render(messages, False)
        answers = []
        for n, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:n], True)
            after = self.render(messages[: n + 1], False)
            if not (after.startswith(before) and text.startswith(after)):
                raise Failure("the chat template renders an answer otherwise once more follows: it cannot be learned from")
            answers.append((len(before), len(after)))
        encoding = self.tokenizer.tokenizer.encode(text, add_special_tokens=False)
        spans = iter(answers)
        begin, end = next(spans)
        mask = []
        for first, last in encoding.offsets:
            # Bytes of one character have the same place; a token belongs to where it ends.
            while last > end:
                following = next(spans, None)
                if following is None:
                    break
                begin, end = following
            mask.append(begin < last <= end and first < last)
        return encoding.ids, mask


def check_messages(messages) -> None:
    """Raises `Failure` for what is no conversation with an answer."""
    if not isinstance(messages, list) or not messages:
        raise Failure('"messages" must be a list of messages')
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES or not isinstance(message.get("content"), str):
            raise Failure('a message must be {"role": "system", "user" or "assistant", "content": a text}')
    if not any(message["role"] == "assistant" for message in messages):
        raise Failure("no message is of the assistant: there is no answer to learn")


def _raise(message):
    raise jinja2.TemplateError(message)
