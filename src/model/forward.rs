//! The forward pass, over rows: every token of every sequence of a batch is a row, and each operation goes over all
//! rows before the next. Shapes in comments: R rows, H hidden size, D state size, I intermediate size.

use std::ops::Range;
use std::slice::from_ref;
use std::sync::{Mutex, PoisonError};

use super::linear::{self, Context, Next, Product, Quantised};
use super::one_row::{Epilogue, Plans};
use super::weights::{Conv, Layer, Linear};
use super::{Model, Step, Want};
use crate::error::Error;
use crate::format::{ModelFile, Span};
use crate::kernels::ASIDE;
use crate::ops::{LINEAR_EPS, NonFinite, convolve};

/// Rows that go through the layers together. More would only take more memory: a tile of weights is read once for
/// all of them.
const MAX_ROWS: usize = 256;

/// Channels that a task takes of an operation by columns, at most and at least.
const COLUMNS: [usize; 2] = [256, 64];

/// Values of a float operation that one thread computes sooner than others can be called: a microsecond's or two's worth.
const ALONE: usize = 2048;

/// Some tokens of one step, and the rows they are.
struct Segment {
    /// Which step.
    step: usize,
    /// The first token's index in the step.
    token: usize,
    /// The first token's place in the sequence.
    first: u64,
    /// The first row.
    row: usize,
    /// Tokens, and so rows.
    len: usize,
}

/// The buffers of a pass, kept between passes.
#[derive(Default)]
pub(super) struct Workspace {
    /// The residual stream, `[R, H]`.
    x: Vec<f32>,
    /// The normed input of a layer half, `[R, H]`.
    a: Vec<f32>,
    /// Input and forget projection, `[R, D]`.
    i: Vec<f32>,
    f: Vec<f32>,
    /// The gate projection, `[R, D]`.
    g: Vec<f32>,
    /// The recurrence, `[R, D]`.
    h: Vec<f32>,
    /// What goes into an output projection, `[R, D]` or `[R, I]`.
    u: Vec<f32>,
    /// Gate and value of one row, `[2 I]`.
    gate: Vec<f32>,
    /// What a half of a layer adds to the stream for one row, `[H]`.
    y: Vec<f32>,
    /// The logits of several rows, `[R, vocabulary]`.
    logits: Vec<f32>,
    /// A convolution's inputs, the window in front.
    history: Vec<f32>,
    /// Quantised rows, one for each matrix that sees an input of its own.
    q: [Quantised; 3],
    /// Who computes what of one row's products.
    plans: Plans,
}

/// Feeds every step's tokens to its state. A step that has failed already is left out, and so is what is left of one in
/// which a value overflows: `failed` gets its error, its logits and states are cleared, and its state is of no use.
pub(super) fn forward(
    model: &Model,
    ws: &mut Workspace,
    steps: &mut [Step<'_>],
    failed: &mut [Option<Error>],
) {
    let config = model.config();
    for step in &mut *steps {
        // Logits of a last token are written over those of the token before, without clearing that much memory first.
        if step.want != Want::Last || step.tokens.is_empty() {
            step.logits.clear();
        }
        if let Some(states) = &mut step.states {
            states.clear();
            states.resize(step.tokens.len(), step.state.clone());
        }
    }
    // Where the next row comes from: a step, and a token of it.
    let (mut step, mut token) = (0, 0);
    loop {
        // As many tokens as fit, in order, of as many steps as it takes.
        let mut segments = Vec::new();
        let mut rows = 0;
        while step < steps.len() && rows < MAX_ROWS {
            let left = match failed[step] {
                None => steps[step].tokens.len() - token,
                Some(_) => 0,
            };
            let len = left.min(MAX_ROWS - rows);
            if len > 0 {
                let first = steps[step].state.position.saturating_add(token as u64);
                segments.push(Segment { step, token, first, row: rows, len });
                rows += len;
            }
            (step, token) = if len < left { (step, token + len) } else { (step + 1, 0) };
        }
        if rows == 0 {
            break;
        }
        let rows = Rows { segments, count: rows, dead: vec![false; rows], failed };
        Pass { model, ws, rows }.run(steps);
    }
    for (step, failed) in steps.iter_mut().zip(failed) {
        if failed.is_some() {
            step.logits.clear();
            step.states.iter_mut().for_each(|states| states.clear());
            continue;
        }
        if let Some(states) = &mut step.states {
            for (t, state) in states.iter_mut().enumerate() {
                state.position = step.state.position.saturating_add(t as u64 + 1);
            }
        }
        step.state.position = step.state.position.saturating_add(step.tokens.len() as u64);
        debug_assert!(
            step.want != Want::All || step.logits.len() == step.tokens.len() * config.vocab_size
        );
    }
}

/// The rows of a pass: whose they are, and which of them no longer count.
struct Rows<'a> {
    segments: Vec<Segment>,
    count: usize,
    /// Rows of steps that have failed: their activations are zeros for the rest of the pass.
    dead: Vec<bool>,
    /// Each step's first error.
    failed: &'a mut [Option<Error>],
}

impl Rows<'_> {
    /// Runs `op` on each row's item. A row in which a value is not finite fails its step: `clear` makes zeros of what `op`
    /// writes, then and for the rest of the pass, so that nothing of it is seen by what else is in the batch.
    fn each<T: Send>(
        &mut self,
        model: &Model,
        items: &mut [T],
        place: impl Fn() -> String,
        op: impl Fn(&mut T) -> Result<(), NonFinite> + Sync,
        clear: impl Fn(&mut T) + Sync,
    ) {
        let (dead, bad) = (&self.dead, Mutex::new(Vec::new()));
        let of_row = |row: usize, item: &mut T| {
            if dead[row] {
                clear(item);
            } else if op(item) == Err(NonFinite) {
                clear(item);
                bad.lock().unwrap_or_else(PoisonError::into_inner).push(row);
            }
        };
        if items.len() == 1 || items.len() * model.config().hidden_size <= ALONE {
            items.iter_mut().enumerate().for_each(|(row, item)| of_row(row, item));
        } else {
            model.pool.run_each(items, &of_row);
        }
        let bad = bad.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !bad.is_empty() {
            self.fail(bad, place());
        }
    }

    /// Fails the steps of some rows, each with the first of its rows.
    fn fail(&mut self, mut bad: Vec<usize>, place: String) {
        bad.sort_unstable();
        for row in bad {
            let hit = self.segments.iter().find(|s| (s.row..s.row + s.len).contains(&row));
            let Some(hit) = hit else { continue };
            let position = hit.first.saturating_add((row - hit.row) as u64);
            let error = Error::NonFinite { place: place.clone(), position };
            self.failed[hit.step].get_or_insert(error);
            for s in self.segments.iter().filter(|s| s.step == hit.step) {
                self.dead[s.row..s.row + s.len].fill(true);
            }
        }
    }

    /// Whether none counts any more.
    fn all_dead(&self) -> bool {
        self.dead.iter().all(|&dead| dead)
    }
}

struct Pass<'a> {
    model: &'a Model,
    ws: &'a mut Workspace,
    rows: Rows<'a>,
}

impl Pass<'_> {
    fn run(&mut self, steps: &mut [Step<'_>]) {
        let model = self.model;
        let hidden = model.config().hidden_size;
        self.ws.x.resize(self.rows.count * hidden, 0.0);
        let segments = self.rows.segments.iter();
        let tokens = segments.flat_map(|s| &steps[s.step].tokens[s.token..][..s.len]);
        let mut rows: Vec<_> = tokens.zip(self.ws.x.chunks_exact_mut(hidden)).collect();
        model.pool.run_each(&mut rows, &|_, (token, x)| {
            model.file.embedding_row(**token as usize, x);
        });
        drop(rows);
        // One layer with each pass, just before it is used: nothing has to wait for all.
        #[cfg(feature = "mmap")]
        let due = model.next_to_repack();
        for (n, layer) in model.weights.layers.iter().enumerate() {
            #[cfg(feature = "mmap")]
            if due == Some(n) {
                model.repack_layer(n);
            }
            self.mix_tokens(n, layer, steps);
            self.mix_channels(n, layer);
            if self.rows.all_dead() {
                return;
            }
        }
        #[cfg(feature = "mmap")]
        if due == Some(model.weights.layers.len()) {
            model.repack_layer(model.weights.layers.len());
        }
        self.head(steps);
    }

    /// Token mixing: `x += o_proj(g_norm(g) * swish(h))`.
    fn mix_tokens(&mut self, n: usize, layer: &Layer, steps: &mut [Step<'_>]) {
        let (model, ops, rows) = (self.model, self.model.ops, self.rows.count);
        let (file, eps) = (&model.file, model.config().rms_norm_eps);
        let (hidden, width) = (model.config().hidden_size, model.config().state_size);

        // a = norm(x), and the shared convolution on it.
        self.ws.a.resize(rows * hidden, 0.0);
        let norm = file.floats_at(&layer.attn_norm);
        let mut pairs: Vec<_> =
            self.ws.x.chunks_exact(hidden).zip(self.ws.a.chunks_exact_mut(hidden)).collect();
        self.rows.each(
            model,
            &mut pairs,
            || format!("layer {n}, attn_norm"),
            |(x, a)| {
                ops.scale(x, ops.rms_factor(x, eps)?, norm, a);
                Ok(())
            },
            |(_, a)| a.fill(0.0),
        );
        if let Some(Conv::Shared(weight)) = &layer.conv {
            let mut a = std::mem::take(&mut self.ws.a);
            self.convolve(n, 0, file.floats_at(weight), hidden, &mut a, steps);
            self.ws.a = a;
        }

        // i, f, g: the same input and the same factor, but each its own norm weights.
        let norms = layer.ifg.each_ref().map(|linear| linear.norm(file));
        let [qi, qf, qg] = &mut self.ws.q;
        let quantised = qi
            .rows(ops, rows, hidden)
            .zip(qf.rows(ops, rows, hidden))
            .zip(qg.rows(ops, rows, hidden));
        let mut items: Vec<_> = self.ws.a.chunks_exact(hidden).zip(quantised).collect();
        self.rows.each(
            model,
            &mut items,
            || format!("layer {n}, ifg_proj"),
            |item| {
                let (a, ((qi, qf), qg)) = item;
                let factor = ops.rms_factor(a, LINEAR_EPS)?;
                qi.quantise(a, factor, norms[0])?;
                qf.quantise(a, factor, norms[1])?;
                qg.quantise(a, factor, norms[2])
            },
            |(_, ((qi, qf), qg))| [qi, qf, qg].into_iter().for_each(|q| q.clear()),
        );
        drop(items);
        let mut aside = norms_aside(file, [&layer.g_norm, &layer.o_proj.norm]);
        if let ([segment], 1) = (&self.rows.segments[..], rows) {
            // What the recurrence reads: of one sequence, since those of many would be too much.
            aside[2] = bytemuck::cast_slice(steps[segment.step].state.layer(n));
            aside[3] = bytemuck::cast_slice(bounds_of(model, n).unwrap_or(&[]));
        }
        let ws = &mut *self.ws;
        let [i, f, g] = &layer.ifg;
        let [qi, qf, qg] = &mut ws.q;
        let factors = [(i, qi), (f, qf), (g, qg)];
        let products = factors.map(|(linear, x)| product(model, rows, linear, x));
        let outs = [&mut ws.i, &mut ws.f, &mut ws.g];
        let next = Next { linears: from_ref(&layer.o_proj), aside };
        if let ([segment], 1, None | Some(Conv::Shared(_))) =
            (&self.rows.segments[..], rows, &layer.conv)
        {
            // The recurrence of some channels, as soon as they are there.
            let (before, bounds) = (steps[segment.step].state.layer(n), bounds_of(model, n));
            let run = &|range: Range<usize>, [i, f, _]: [&mut [f32]; 3], [h]: [&mut [f32]; 1]| {
                let bounds = bounds.map(|bounds| &bounds[range.clone()]);
                ops.recurrence(i, f, bounds, &before[range], h);
            };
            ws.h.resize(width, 0.0);
            let (lanes, further) = ([(0, 0), (1, 0), (2, 0)], [&mut ws.h[..]]);
            let epilogue = Epilogue { lanes, rows: width, further, run, cost: 2.5 };
            let context = context(model, &mut ws.plans);
            linear::apply_to_row(context, products, outs, epilogue, next);
        } else {
            linear::apply(context(model, &mut ws.plans), products, outs, next);
            if let Some(Conv::Separate(weights)) = &layer.conv {
                let (mut i, mut f) =
                    (std::mem::take(&mut self.ws.i), std::mem::take(&mut self.ws.f));
                self.convolve(n, 0, file.floats_at(&weights[0]), width, &mut i, steps);
                self.convolve(n, 1, file.floats_at(&weights[1]), width, &mut f, steps);
                (self.ws.i, self.ws.f) = (i, f);
            }
            self.recur(n, steps);
        }
        self.keep_states(n, steps);

        // u = g_norm(g) * swish(h), quantised for o_proj.
        self.ws.u.resize(rows * width, 0.0);
        let norm = file.floats_at(&layer.g_norm);
        let o_norm = layer.o_proj.norm(file);
        let mut items: Vec<_> = self
            .ws
            .g
            .chunks_exact(width)
            .zip(self.ws.h.chunks_exact(width))
            .zip(self.ws.u.chunks_exact_mut(width))
            .zip(self.ws.q[0].rows(ops, rows, width))
            .collect();
        self.rows.each(
            model,
            &mut items,
            || format!("layer {n}, o_proj"),
            |item| {
                let (((g, h), u), q) = item;
                ops.gated_norm(g, ops.rms_factor(g, eps)?, norm, h, u);
                q.norm_and_quantise(u, o_norm)
            },
            |(_, q)| q.clear(),
        );
        drop(items);
        let aside = norms_aside(file, [&layer.mlp_norm, &layer.gate_proj.norm]);
        let ws = &mut *self.ws;
        let next = Next { linears: from_ref(&layer.gate_proj), aside };
        let product = product(model, rows, &layer.o_proj, &mut ws.q[0]);
        let run = &|_: Range<usize>, [y]: [&mut [f32]; 1], [x]: [&mut [f32]; 1]| ops.add(x, y);
        let (lanes, further) = ([(0, 0)], [&mut ws.x[..]]);
        let epilogue = Epilogue { lanes, rows: hidden, further, run, cost: 0.1 };
        linear::apply_with(context(model, &mut ws.plans), product, &mut ws.y, epilogue, next);
    }

    /// The recurrence of all rows.
    fn recur(&mut self, n: usize, steps: &[Step<'_>]) {
        let (model, ops, ws) = (self.model, self.model.ops, &mut *self.ws);
        let width = model.config().state_size;
        ws.h.resize(self.rows.count * width, 0.0);
        let bounds = bounds_of(model, n);
        let before: Vec<&[f32]> =
            self.rows.segments.iter().map(|segment| steps[segment.step].state.layer(n)).collect();
        let (input, forget, segments) = (&ws.i, &ws.f, &self.rows.segments);
        let chunk = if self.rows.count * width <= ALONE { width } else { columns(model, width) };
        model.pool.run_columns(&mut ws.h, width, chunk, &|_, mut block| {
            let range = block.columns();
            // The row before, where it is one of this pass.
            let mut last = Vec::new();
            for (segment, before) in segments.iter().zip(&before) {
                for row in segment.row..segment.row + segment.len {
                    let at = row * width + range.start..row * width + range.end;
                    let (i, f) = (&input[at.clone()], &forget[at]);
                    let before = if row == segment.row { &before[range.clone()] } else { &last };
                    let h = block.row(row);
                    ops.recurrence(i, f, bounds.map(|b| &b[range.clone()]), before, h);
                    if row + 1 < segment.row + segment.len {
                        last.clear();
                        last.extend_from_slice(h);
                    }
                }
            }
        });
    }

    /// Keeps the states after the recurrence.
    fn keep_states(&mut self, n: usize, steps: &mut [Step<'_>]) {
        let (width, ws) = (self.model.config().state_size, &*self.ws);
        for segment in &self.rows.segments {
            let step = &mut steps[segment.step];
            let rows = &ws.h[segment.row * width..(segment.row + segment.len) * width];
            step.state.layer_mut(n).copy_from_slice(&rows[rows.len() - width..]);
            if let Some(states) = &mut step.states {
                for (state, h) in states[segment.token..].iter_mut().zip(rows.chunks_exact(width)) {
                    state.layer_mut(n).copy_from_slice(h);
                }
            }
        }
    }

    /// A short convolution over `x`, `[R, width]`, in place, through the states' windows. `which` is 1 for the second of a
    /// layer's separate convolutions.
    fn convolve(
        &mut self,
        n: usize,
        which: usize,
        weight: &[f32],
        width: usize,
        x: &mut [f32],
        steps: &mut [Step<'_>],
    ) {
        let size = weight.len() / width;
        let window = which * size * width..(which + 1) * size * width;
        for segment in &self.rows.segments {
            let step = &mut steps[segment.step];
            let rows = &mut x[segment.row * width..(segment.row + segment.len) * width];
            let history = &mut self.ws.history;
            history.clear();
            history.extend_from_slice(&step.state.windows(n)[window.clone()]);
            history.extend_from_slice(rows);
            let history = &*history;
            let chunk = columns(self.model, width);
            self.model.pool.run_columns(rows, width, chunk, &|_, mut block| {
                let start = block.columns().start;
                for t in 0..segment.len {
                    // Behind the window's first row: the last `size` inputs up to this one.
                    let taps = &history[(t + 1) * width..];
                    convolve(taps, width, weight, size, start, block.row(t));
                }
            });
            let after = |t: usize| &history[(t + 1) * width..(t + 1 + size) * width];
            step.state.windows_mut(n)[window.clone()].copy_from_slice(after(segment.len - 1));
            if let Some(states) = &mut step.states {
                for (t, state) in states[segment.token..][..segment.len].iter_mut().enumerate() {
                    state.windows_mut(n)[window.clone()].copy_from_slice(after(t));
                }
            }
        }
    }

    /// Channel mixing: `x += down_proj(swish(gate) * value)`.
    fn mix_channels(&mut self, n: usize, layer: &Layer) {
        let (model, ops, rows) = (self.model, self.model.ops, self.rows.count);
        let (file, eps) = (&model.file, model.config().rms_norm_eps);
        let (hidden, inner) = (model.config().hidden_size, model.config().intermediate_size);

        let norm = file.floats_at(&layer.mlp_norm);
        let gate_norm = layer.gate_proj.norm(file);
        let mut items: Vec<_> = self
            .ws
            .x
            .chunks_exact(hidden)
            .zip(self.ws.a.chunks_exact_mut(hidden))
            .zip(self.ws.q[0].rows(ops, rows, hidden))
            .collect();
        self.rows.each(
            model,
            &mut items,
            || format!("layer {n}, gate_proj"),
            |item| {
                let ((x, a), q) = item;
                ops.scale(x, ops.rms_factor(x, eps)?, norm, a);
                q.norm_and_quantise(a, gate_norm)
            },
            |(_, q)| q.clear(),
        );
        drop(items);
        let ws = &mut *self.ws;
        ws.u.resize(rows * inner, 0.0);
        let aside = norms_aside(file, [&layer.down_proj.norm]);
        let next = Next { linears: from_ref(&layer.down_proj), aside };
        let gated = product(model, rows, &layer.gate_proj, &mut ws.q[0]);
        let run = &|_: Range<usize>, [gate, value]: [&mut [f32]; 2], [u]: [&mut [f32]; 1]| {
            ops.swiglu(gate, value, u);
        };
        let (lanes, further) = ([(0, 0), (0, inner)], [&mut ws.u[..]]);
        let epilogue = Epilogue { lanes, rows: inner, further, run, cost: 0.7 };
        linear::apply_with(context(model, &mut ws.plans), gated, &mut ws.gate, epilogue, next);

        let down_norm = layer.down_proj.norm(file);
        let u = self.ws.u.chunks_exact(inner);
        let mut items: Vec<_> = u.zip(self.ws.q[0].rows(ops, rows, inner)).collect();
        self.rows.each(
            model,
            &mut items,
            || format!("layer {n}, down_proj"),
            |(u, q)| q.norm_and_quantise(u, down_norm),
            |(_, q)| q.clear(),
        );
        drop(items);
        let next = match model.weights.layers.get(n + 1) {
            Some(layer) => first_of(file, layer),
            None => {
                let head = &model.weights.lm_head;
                let aside = norms_aside(file, [&model.weights.norm, &head.norm]);
                Next { linears: from_ref(head), aside }
            }
        };
        let ws = &mut *self.ws;
        let product = product(model, rows, &layer.down_proj, &mut ws.q[0]);
        let run = &|_: Range<usize>, [y]: [&mut [f32]; 1], [x]: [&mut [f32]; 1]| ops.add(x, y);
        let (lanes, further) = ([(0, 0)], [&mut ws.x[..]]);
        let epilogue = Epilogue { lanes, rows: hidden, further, run, cost: 0.1 };
        linear::apply_with(context(model, &mut ws.plans), product, &mut ws.y, epilogue, next);
    }

    /// Logits of the rows that are wanted.
    fn head(&mut self, steps: &mut [Step<'_>]) {
        let (model, ops) = (self.model, self.model.ops);
        let (file, eps) = (&model.file, model.config().rms_norm_eps);
        let (hidden, vocab) = (model.config().hidden_size, model.config().vocab_size);
        let head = &model.weights.lm_head;
        // Wanted rows of each segment: all, the last one of the step, or none.
        let mut wanted: Vec<Segment> = Vec::new();
        for s in &self.rows.segments {
            let step = &steps[s.step];
            let ends = s.token + s.len == step.tokens.len();
            match step.want {
                _ if self.rows.failed[s.step].is_some() => {}
                Want::All => wanted.push(Segment { ..*s }),
                Want::Last if ends => wanted.push(Segment {
                    step: s.step,
                    token: s.token + s.len - 1,
                    first: s.first + s.len as u64 - 1,
                    row: s.row + s.len - 1,
                    len: 1,
                }),
                _ => {}
            }
        }
        let rows: usize = wanted.iter().map(|s| s.len).sum();
        if rows == 0 {
            return;
        }
        // Row numbers of the wanted rows among themselves.
        let mut row = 0;
        let sources: Vec<usize> = wanted.iter().flat_map(|s| s.row..s.row + s.len).collect();
        for segment in &mut wanted {
            segment.row = row;
            row += segment.len;
        }
        let (norm, head_norm) = (file.floats_at(&model.weights.norm), head.norm(file));
        let x = &self.ws.x;
        let mut items: Vec<_> = sources
            .iter()
            .map(|row| &x[row * hidden..][..hidden])
            .zip(self.ws.a.chunks_exact_mut(hidden))
            .zip(self.ws.q[0].rows(ops, rows, hidden))
            .collect();
        let failed = &mut *self.rows.failed;
        let mut wanted = Rows { segments: wanted, count: rows, dead: vec![false; rows], failed };
        wanted.each(
            model,
            &mut items,
            || "lm_head".to_owned(),
            |((x, z), q)| {
                ops.scale(x, ops.rms_factor(x, eps)?, norm, z);
                q.norm_and_quantise(z, head_norm)
            },
            |(_, q)| q.clear(),
        );
        drop(items);
        // The next token begins with the first layer.
        let next = match model.weights.layers.first() {
            Some(layer) => first_of(file, layer),
            None => Next { linears: from_ref(head), aside: [&[]; ASIDE] },
        };
        let ws = &mut *self.ws;
        let product = product(model, rows, head, &mut ws.q[0]);
        let context = context(model, &mut ws.plans);
        if let [segment] = &wanted.segments[..]
            && steps[segment.step].want == Want::Last
        {
            linear::apply(context, [product], [steps[segment.step].logits], next);
        } else {
            linear::apply(context, [product], [&mut ws.logits], next);
            for segment in &wanted.segments {
                let step = &mut steps[segment.step];
                if step.want == Want::Last {
                    step.logits.clear();
                }
                let rows = segment.row * vocab..(segment.row + segment.len) * vocab;
                step.logits.extend_from_slice(&self.ws.logits[rows]);
            }
        }
        let mut bad = Vec::new();
        for segment in &wanted.segments {
            let logits = &steps[segment.step].logits;
            let logits = &logits[logits.len() - segment.len * vocab..];
            bad.extend(ops.first_non_finite(logits).map(|at| segment.row + at / vocab));
        }
        wanted.fail(bad, "the logits".into());
    }
}

/// The lower bounds of a layer's forget gates, where it has some that are not 0.
fn bounds_of(model: &Model, n: usize) -> Option<&[f32]> {
    let width = model.config().state_size;
    model.bounds.get(n * width..(n + 1) * width).filter(|_| n > 0)
}

/// What a layer begins with.
fn first_of<'a>(file: &'a ModelFile, layer: &'a Layer) -> Next<'a> {
    let [i, f, g] = &layer.ifg;
    Next {
        linears: &layer.ifg,
        aside: norms_aside(file, [&layer.attn_norm, &i.norm, &f.norm, &g.norm]),
    }
}

/// The norms that are read behind a product.
fn norms_aside<'a, const N: usize>(file: &'a ModelFile, norms: [&Span; N]) -> [&'a [u8]; ASIDE] {
    const { assert!(N <= ASIDE) };
    let mut aside = [&[][..]; ASIDE];
    for (aside, norm) in aside.iter_mut().zip(norms) {
        *aside = &file.bytes()[norm.clone()];
    }
    aside
}

/// Channels that a task takes of an operation by columns.
fn columns(model: &Model, width: usize) -> usize {
    let [most, least] = COLUMNS;
    // Lines of floats; some more tasks than threads.
    (width / (2 * model.threads())).next_multiple_of(16).clamp(least, most)
}

/// What products are made with.
fn context<'a>(model: &'a Model, plans: &'a mut Plans) -> Context<'a> {
    Context { file: &model.file, ops: model.ops, pool: &model.pool, plans }
}

/// The product of a matrix with some quantised rows.
fn product<'a>(
    model: &'a Model,
    rows: usize,
    linear: &'a Linear,
    x: &'a mut Quantised,
) -> Product<'a> {
    let kernel = model.kernel_for(linear.packing(), rows);
    Product { linear, kernel, x }
}
