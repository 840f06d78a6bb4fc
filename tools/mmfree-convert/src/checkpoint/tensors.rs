//! The tensors of a checkpoint, held against its configuration.

use std::path::Path;

use mmfree::Error;

use super::weights::Absent;
use super::{CONFIG, Checkpoint, EMBEDDING, HEAD, names};
use crate::error::Result;
use crate::plan::scale_name;
use crate::text::clip;

impl Checkpoint {
    /// Gives the model's tensors their own names, where they have others; notes it.
    pub(super) fn settle_names(&mut self) -> Result<()> {
        // Before the list of tensors is made: a small folder must not ask for a long list.
        let count = self.weights.names().count();
        if self.config.num_layers > count {
            let reason = format!(
                "num_hidden_layers is {}, but the checkpoint has only {count} tensors",
                self.config.num_layers
            );
            return Err(Error::invalid(&self.folder.join(CONFIG), reason).into());
        }
        let specs = self.config.tensors();
        let tied = self.config.tie_word_embeddings && self.unpacked.is_none();
        let mut needed: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        needed.retain(|name| !(tied && *name == HEAD));
        let settled = names::settle(&mut self.weights, &needed, tied);
        let place = self.weights.place(&self.folder);
        self.notes.extend(settled.map_err(|reason| Error::invalid(&place, reason))?);
        Ok(())
    }

    /// Holds the tensors against the configuration; gives notes on those that have no place in the
    /// model.
    pub(super) fn check_tensors(&self, folder: &Path) -> Result<Vec<String>> {
        let (config, weights) = (&self.config, &self.weights);
        let missing = |name: &str| match weights.absent().get(name) {
            Some(Absent { index, shard }) => {
                let reason =
                    format!("places tensor {name} in {}, but no shard has it", clip(shard));
                Error::invalid(index, reason)
            }
            None => {
                let reason = format!("tensor {name}: missing, but {CONFIG} calls for it");
                Error::invalid(&weights.place(folder), reason)
            }
        };
        let specs = config.tensors();
        let mut used = std::collections::HashSet::new();
        for spec in &specs {
            let name = self.stored_name(&spec.name);
            let stored = weights.get(name).ok_or_else(|| missing(name))?;
            let invalid = |reason: String| {
                Error::invalid(weights.path(stored), format!("tensor {name}: {reason}"))
            };
            if stored.shape != spec.shape {
                let reason = format!(
                    "has shape {:?}, but {CONFIG} calls for {:?}",
                    stored.shape, spec.shape
                );
                return Err(invalid(reason).into());
            }
            if let Err(dtype) = &stored.float {
                return Err(invalid(format!("is {dtype}, must be F32, F16 or BF16")).into());
            }
            used.insert(name);
        }
        // Known to be of no use: a tied head's duplicate, and a convolution that the original never
        // calls.
        let expected = |name: &str| {
            config.tie_word_embeddings && name == HEAD
                || self.unpacked.is_some() && name == scale_name(EMBEDDING)
                || config.short_conv.is_some() && name.ends_with(".attn.q_conv1d.weight")
        };
        let extra: Vec<&str> =
            weights.names().filter(|name| !used.contains(name) && !expected(name)).collect();
        let extra = match extra[..] {
            [] => None,
            [name] => {
                Some(format!("tensor {} is no part of the model and was left out", clip(name)))
            }
            [first, ..] => Some(format!(
                "{} tensors are no part of the model and were left out: {}, ...",
                extra.len(),
                clip(first)
            )),
        };
        let mut absent =
            weights.absent().keys().filter(|name| !used.contains(name.as_str()) && !expected(name));
        let absent = absent.next().map(|name| {
            let more = if absent.next().is_some() { ", ..." } else { "" };
            format!(
                "the index lists {}{more}, which no shard has and the model does not need",
                clip(name)
            )
        });
        Ok(extra.into_iter().chain(absent).collect())
    }
}
