//! Truncation of a predicted distribution before it is sampled: unlikely tokens are what sounds
//! broken.

use super::posterior::LOG_FLOOR;

/// Which tokens stay eligible; the others' probability becomes `e^-70`. Nothing is renormalised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Truncation {
    /// All of them.
    None,
    /// The most likely ones until their probabilities reach this rate, at least one (VQ-Diffusion's "top0.85r").
    Rate(f32),
    /// This many of the most likely ones.
    Count(usize),
}

/// Truncates `probabilities` in place. Of equal ones, the first is taken as more likely.
pub fn truncate(probabilities: &mut [f32], truncation: Truncation) {
    let floor = LOG_FLOOR.exp() as f32;
    let keep = match truncation {
        Truncation::None => return,
        Truncation::Rate(rate) => ranks_within(probabilities, rate),
        Truncation::Count(count) => {
            let mut order: Vec<usize> = (0..probabilities.len()).collect();
            sort(&mut order, probabilities);
            order.truncate(count);
            order
        }
    };
    let kept: Vec<(usize, f32)> =
        keep.into_iter().filter_map(|c| probabilities.get(c).map(|&p| (c, p))).collect();
    probabilities.fill(floor);
    for (c, p) in kept {
        if let Some(slot) = probabilities.get_mut(c) {
            *slot = p;
        }
    }
}

/// Sorts classes from the most likely to the least.
fn sort(order: &mut [usize], probabilities: &[f32]) {
    let p = |c: &usize| probabilities.get(*c).copied().unwrap_or(0.0);
    order.sort_unstable_by(|a, b| p(b).total_cmp(&p(a)).then(a.cmp(b)));
}

/// The classes of rank 0 and of every rank before which less than `rate` is accumulated.
fn ranks_within(probabilities: &[f32], rate: f32) -> Vec<usize> {
    // Classes below `slack / classes` hold less than `slack` together, so the others reach `rate`:
    // mostly few, and only these need sorting.
    let total: f64 = probabilities.iter().map(|&p| f64::from(p)).sum();
    let slack = (total - f64::from(rate)) / probabilities.len().max(1) as f64;
    let likely = |c: &usize| probabilities.get(*c).is_some_and(|&p| f64::from(p) >= slack);
    let mut order: Vec<usize> = (0..probabilities.len()).filter(likely).collect();
    sort(&mut order, probabilities);
    let mut sum = 0.0_f64;
    let mut kept = 0;
    for &c in &order {
        if kept > 0 && sum >= f64::from(rate) {
            break;
        }
        sum += f64::from(probabilities.get(c).copied().unwrap_or(0.0));
        kept += 1;
    }
    order.truncate(kept);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_one_at_least_and_all_at_most() {
        let mut p = vec![0.25; 4];
        truncate(&mut p, Truncation::Rate(1e-9));
        assert_eq!(p.iter().filter(|p| **p > 0.1).count(), 1);
        let mut p = vec![0.25; 4];
        truncate(&mut p, Truncation::Rate(1.0));
        assert_eq!(p, vec![0.25; 4]);
        truncate(&mut p, Truncation::Count(9));
        assert_eq!(p, vec![0.25; 4]);
        truncate(&mut [], Truncation::Rate(0.5));
    }
}
