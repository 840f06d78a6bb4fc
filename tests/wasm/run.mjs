// Runs a model file in WebAssembly and holds logits and state, bit by bit, against those of `mmfree-infer logits`.
// Usage: node run.mjs CHECK.wasm MODEL.mmfree LOGITS.safetensors
import { readFileSync } from 'node:fs'

const [wasm, model, expected] = process.argv.slice(2).map(path => readFileSync(path))

function tensors(bytes) {
    const length = Number(bytes.readBigUInt64LE(0))
    const header = JSON.parse(bytes.subarray(8, 8 + length))
    delete header.__metadata__
    return name => {
        const [from, to] = header[name].data_offsets
        return bytes.subarray(8 + length + from, 8 + length + to)
    }
}

const { instance } = await WebAssembly.instantiate(wasm, {})
const engine = instance.exports
// Anew each time: the memory moves when it grows.
const at = (address, length) => Buffer.from(engine.memory.buffer, address, length)

const tensor = tensors(expected)
const wide = tensor('ids')
const ids = Array.from({ length: wide.length / 8 }, (_, i) => Number(wide.readBigInt64LE(8 * i)))

function run(bytes, threads) {
    at(engine.file(bytes.length), bytes.length).set(bytes)
    const address = engine.ids(ids.length)
    ids.forEach((id, i) => at(address, 4 * ids.length).writeUInt32LE(id, 4 * i))
    return engine.run(threads) === 1
}

for (const threads of [1, 8]) {
    if (!run(model, threads)) throw new Error(at(engine.error(), engine.error_len()).toString())
    for (const [name, found] of [
        ['logits', at(engine.logits(), 4 * engine.logits_len())],
        ['state', at(engine.recurrence(), 4 * engine.recurrence_len())],
    ]) {
        if (found.length === 0 || Buffer.compare(found, tensor(name)) !== 0) throw new Error(`other ${name}`)
        if (threads === 1) console.log(`${name}: ${found.length / 4} floats, the same bits`)
    }
}

// What cannot be used is an error in words.
if (run(model.subarray(0, 4096), 1)) throw new Error('a file cut short was taken')
const error = at(engine.error(), engine.error_len()).toString()
if (!error.startsWith('the file of the host: cut short')) throw new Error(`an odd error: ${error}`)
