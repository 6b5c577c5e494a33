//! The forward process: noising clean tokens.

use super::{DiffusionError, Noise, Schedule};

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
