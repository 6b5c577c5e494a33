//! The session as projects keep it.

use std::sync::Arc;

use serde_json::Value;

use super::{Message, Session, worker::Command};
use crate::{state::Project, take::Take};

impl Session {
    /// Says that the prompt or the seed was edited.
    pub fn project_edited(&self) {
        self.shared.changed();
    }

    /// The text part of the project.
    #[must_use]
    pub fn project(&self) -> Project {
        self.with(|model| model.project.clone())
    }

    /// The clip for the project file: always the newest one, even if it arrived a moment ago.
    #[must_use]
    pub fn clip_value(&self) -> Value {
        let (playing, unread) = self.with(|model| (model.playing.clone(), model.unread_clip.clone()));
        match playing {
            // Outside of the lock: this may encode.
            Some(take) => Value::String(take.encoded().to_owned()),
            None => unread.unwrap_or(Value::Null),
        }
    }

    /// Takes over the text part of a project.
    pub fn restore_project(&self, value: &Value) {
        let (project, problem) = Project::from_value(value);
        let (names_pack, names_adapters) = (project.pack.is_some(), !project.adapters.is_empty());
        self.with(|model| {
            model.project = project;
            model.notice_closed = false;
            // What the new project names has not been looked for.
            if names_adapters {
                model.adapters = None;
            }
        });
        if names_pack {
            self.scan_packs();
        }
        if names_adapters {
            self.scan_adapters();
        }
        if let Some(problem) = problem {
            self.shared.tell(&problem, true);
        }
        self.shared.repaint.request();
    }

    /// Takes over the clip of a project: decoded here and now (some milliseconds, on the host's
    /// thread for loading projects), so that the first block played after loading has it.
    pub fn restore_clip(&self, value: &Value) {
        let take = match value {
            Value::Null => Ok(None),
            Value::String(text) => Take::decode(self.shared.next_take(), text).map(Some),
            _ => Err("it is not a clip".to_owned()),
        };
        self.cancel();
        let (take, problem) = match take {
            Ok(take) => (take.map(Arc::new), None),
            Err(problem) => (None, Some(problem)),
        };
        self.with(|model| {
            // Whatever is still being made belongs to what was open before.
            model.job = None;
            model.takes = take.iter().cloned().collect();
            model.playing.clone_from(&take);
            model.unread_clip = problem.as_ref().map(|_| value.clone());
            model.message = problem.map(|problem| Message {
                text: format!(
                    "The sound saved in this project could not be read: {problem}. It is kept in the \
                     project until you make a new one."
                ),
                is_error: true,
            });
        });
        self.shared.handover.offer(0, take.as_ref().map(|take| Arc::clone(&take.source)));
        if let Some(take) = take {
            self.send(Command::Illustrate(take));
        }
        self.shared.repaint.request();
    }
}
