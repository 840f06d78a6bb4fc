// Node's openai against the server: prints the texts that it got, by how they were asked for, all of seed 7.
//
//     node openai.cjs MODULES BASE PROMPT

const { createRequire } = require("node:module");
const [modules, baseURL, prompt] = process.argv.slice(2);
const OpenAI = createRequire(`${modules}/`)("openai");

async function main() {
    const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
    const model = (await client.models.list()).data[0].id;
    const ask = { model, prompt, max_tokens: 40, seed: 7 };
    const texts = {};
    texts.whole = (await client.completions.create(ask)).choices[0].text;
    texts.streamed = "";
    for await (const chunk of await client.completions.create({ ...ask, stream: true })) {
        texts.streamed += chunk.choices[0].text;
    }
    // One that is broken off leaves the server as it was.
    const aborted = await client.completions.create({ ...ask, max_tokens: 5000, stream: true });
    for await (const _ of aborted) {
        break;
    }
    texts.again = (await client.completions.create(ask)).choices[0].text;

    const messages = [{ role: "user", content: "Tell me a tale" }];
    const chat = { model, messages, seed: 1, max_completion_tokens: 10 };
    const whole = (await client.chat.completions.create(chat)).choices[0].message.content;
    let streamed = "";
    for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
        streamed += chunk.choices[0].delta.content ?? "";
    }
    if (streamed !== whole) {
        throw new Error(`chat: ${streamed}, not ${whole}`);
    }
    const error = await client.completions.create({ ...ask, model: "other" }).catch((error) => error);
    if (!(error instanceof OpenAI.NotFoundError)) {
        throw new Error(`another model: ${error}`);
    }
    console.log(JSON.stringify(texts));
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
