//! The forward process: noising clean tokens.

use super::posterior::ALMOST_ZERO;
use super::sampler::race;
use super::{DiffusionError, Noise, Rates, Schedule};

/// Draws `x_t ~ q(x_t | x_0)`: clean tokens `x0` noised up to and including timestep `t`.
///
/// `x0` is `[length]` (or any run of tokens that share `t`), ids below the codebook size. Two draws
/// of `noise` a token. The reference's probabilities of an ordinary token's row add up to
/// `1 - bbar_t`, and its Gumbel draw normalises them, as here.
///
/// # Errors
/// When an id or the timestep is out of range.
pub fn q_sample(
    x0: &[u32],
    t: usize,
    schedule: &Schedule,
    noise: &mut Noise,
) -> Result<Vec<u32>, DiffusionError> {
    schedule.check_timestep(t)?;
    DiffusionError::check_ids("token", x0, schedule.codebook())?;
    let rates = schedule.cumulative(t);
    let codebook = schedule.codebook();
    let total = rates.keep + rates.mask + codebook as f64 * rates.replace;
    Ok(x0
        .iter()
        .map(|&token| {
            let u = f64::from(noise.uniform()) * total;
            let other = noise.below(codebook) as u32;
            if u < rates.mask {
                schedule.mask_id()
            } else if u < rates.mask + rates.keep {
                token
            } else {
                other
            }
        })
        .collect())
}

/// `log q(x_t | x)` over all classes, flat `[tokens, classes]`, for noise of `rates` added to the tokens `ids` (which
/// may be `[MASK]`): `q_pred` and `q_pred_one` of SPEC 5.2. Impossible tokens count as 1e-30 likely, as in the reference.
#[must_use]
pub fn log_transition(ids: &[u32], rates: Rates, schedule: &Schedule) -> Vec<f64> {
    let mask = schedule.codebook();
    let mut log = Vec::with_capacity(ids.len() * schedule.classes());
    for &id in ids {
        log.extend((0..schedule.classes()).map(|class| {
            let before = if class == id as usize { 1.0 } else { ALMOST_ZERO };
            if class == mask {
                (before * (1.0 - rates.mask) + rates.mask).ln()
            } else {
                (before * rates.keep + rates.replace).ln()
            }
        }));
    }
    log
}

/// Draws a noised `token` (of the codebook) with one uniform draw a class, `u` `[classes]`, as the reference does:
/// the class of the largest log-probability plus Gumbel noise. Overwrites `u`.
#[must_use]
pub fn noised_by_gumbel(token: u32, rates: Rates, u: &mut [f32]) -> u32 {
    let mut p = vec![rates.replace as f32; u.len()];
    if let Some(mask) = p.last_mut() {
        *mask = rates.mask as f32;
    }
    if let Some(kept) = p.get_mut(token as usize) {
        *kept = (rates.keep + rates.replace) as f32;
    }
    race(&p, u) as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::diffusion::ScheduleConfig;

    #[test]
    fn frequencies_are_the_cumulative_rates() {
        let schedule = Schedule::new(16, &ScheduleConfig::default()).unwrap();
        let mut noise = Noise::new(5, 0);
        let n = 200_000;
        for t in [10, 50, 99] {
            let xt = q_sample(&vec![3; n], t, &schedule, &mut noise).unwrap();
            let share = |id: u32| xt.iter().filter(|&&x| x == id).count() as f64 / n as f64;
            let rates = schedule.cumulative(t);
            for (id, want) in [(3, rates.keep + rates.replace), (7, rates.replace), (16, rates.mask)] {
                let want = want / (1.0 - rates.replace);
                let deviation = (want * (1.0 - want) / n as f64).sqrt();
                assert!((share(id) - want).abs() < 5.0 * deviation, "t {t} id {id}: {} {want}", share(id));
            }
        }
    }

    #[test]
    fn refuses_ids_and_timesteps_out_of_range() {
        let schedule = Schedule::new(16, &ScheduleConfig::default()).unwrap();
        let mut noise = Noise::new(5, 0);
        assert!(q_sample(&[16], 0, &schedule, &mut noise).is_err());
        assert!(q_sample(&[0], 100, &schedule, &mut noise).is_err());
    }
}
