//! Which sounds of the list are chosen, to be dragged or removed together.

use egui::Modifiers;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct TrayChoice {
    /// Numbers of the takes.
    ids: Vec<u64>,
    /// The take that Shift extends from.
    anchor: Option<u64>,
}

impl TrayChoice {
    /// Whether nothing is chosen.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether this take is chosen.
    pub fn contains(&self, id: u64) -> bool {
        self.ids.contains(&id)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets what is not in the list any more.
    pub fn keep(&mut self, list: &[u64]) {
        self.ids.retain(|id| list.contains(id));
        self.anchor = self.anchor.filter(|id| list.contains(id));
    }

    /// A take of the `list` was clicked: alone it is no choice, only where one begins; with Ctrl (Command) it is added or taken
    /// out; with Shift all from the last one clicked to it are chosen, with both as well.
    pub fn click(&mut self, id: u64, list: &[u64], modifiers: Modifiers) {
        let place = |id: u64| list.iter().position(|other| *other == id);
        let range = self.anchor.and_then(place).zip(place(id));
        if modifiers.shift
            && let Some((from, to)) = range
        {
            let range = list.get(from.min(to)..=from.max(to)).unwrap_or_default();
            if !modifiers.command {
                self.ids.clear();
            }
            self.ids.extend(range.iter().filter(|id| !self.ids.contains(id)).collect::<Vec<_>>());
            return;
        }
        self.anchor = Some(id);
        if !modifiers.command && !modifiers.shift {
            self.ids.clear();
        } else if modifiers.command && self.contains(id) {
            self.ids.retain(|other| *other != id);
        } else if !self.contains(id) {
            self.ids.push(id);
        }
    }

    /// What is dragged with this take: all that is chosen in the order of the `list` if it is among them, else it alone.
    pub fn dragged_with(&self, id: u64, list: &[u64]) -> Vec<u64> {
        if self.contains(id) { self.in_order(list) } else { vec![id] }
    }

    /// What is chosen, in the order of the `list`.
    pub fn in_order(&self, list: &[u64]) -> Vec<u64> {
        list.iter().copied().filter(|id| self.contains(*id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: [u64; 5] = [9, 7, 5, 3, 1];

    #[test]
    fn clicks_choose_as_in_a_file_manager() {
        let mut choice = TrayChoice::default();
        choice.click(7, &LIST, Modifiers::NONE);
        assert!(choice.is_empty());
        choice.click(3, &LIST, Modifiers::SHIFT);
        assert_eq!(choice.in_order(&LIST), [7, 5, 3]);
        // Shift goes from the same end again.
        choice.click(9, &LIST, Modifiers::SHIFT);
        assert_eq!(choice.in_order(&LIST), [9, 7]);
        choice.click(1, &LIST, Modifiers::COMMAND);
        choice.click(9, &LIST, Modifiers::COMMAND);
        assert_eq!(choice.in_order(&LIST), [7, 1]);
        choice.click(5, &LIST, Modifiers::COMMAND | Modifiers::SHIFT);
        assert_eq!(choice.in_order(&LIST), [9, 7, 5, 1]);
        choice.click(3, &LIST, Modifiers::NONE);
        assert!(choice.is_empty());
    }

    #[test]
    fn with_shift_alone_one_is_chosen_and_what_is_gone_is_forgotten() {
        let mut choice = TrayChoice::default();
        choice.click(5, &LIST, Modifiers::SHIFT);
        assert_eq!(choice.in_order(&LIST), [5]);
        choice.click(1, &LIST, Modifiers::COMMAND);
        assert_eq!(choice.dragged_with(5, &LIST), [5, 1]);
        assert_eq!(choice.dragged_with(9, &LIST), [9]);
        choice.keep(&[9, 7, 5]);
        assert_eq!(choice.in_order(&LIST), [5]);
        // Where it was extended from is gone too.
        choice.click(9, &[9, 7, 5], Modifiers::SHIFT);
        assert_eq!(choice.in_order(&LIST), [9, 5]);
        choice.clear();
        assert!(choice.is_empty());
    }
}
