//! The text part of the session as projects keep it.

use serde_json::Value;

use super::Session;
use crate::state::Project;

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
}
