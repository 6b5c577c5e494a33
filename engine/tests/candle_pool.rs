//! Candle's spinning pool stays off: a process of its own, for the pool is made once in each.
#![allow(clippy::unwrap_used)]

use std::{
    env,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use candle_core::{Device, Tensor, utils::barrier_pool};
use soundlocd_engine::service::disable_candle_pool;

const VARIABLE: &str = "CANDLE_NUM_THREADS";
/// Set in the child process of the second test.
const CHILD: &str = "SOUNDLOCD_TEST_CHILD";

#[test]
fn the_pool_is_off_and_the_environment_whole() {
    if env::var_os(VARIABLE).is_some() {
        // Somebody wants a pool: nothing to see here.
        return;
    }
    let before: Vec<_> = env::vars_os().collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // What a host's threads do all the time.
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for (name, value) in &before {
                        assert_eq!(env::var_os(name).as_ref(), Some(value));
                    }
                }
            });
        }
        for _ in 0..1_000 {
            disable_candle_pool();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(env::var(VARIABLE).unwrap(), "1");
    assert_eq!(env::vars_os().count(), before.len() + 1);
    assert_eq!(barrier_pool().n_workers(), 0);
    // Children inherit a well-formed environment.
    let child = Command::new(env::current_exe().unwrap()).arg("--list").status().unwrap();
    assert!(child.success());
    // Large enough for candle to want the pool.
    let ones = Tensor::ones(1 << 20, candle_core::DType::F32, &Device::Cpu).unwrap();
    let sum = (&ones + &ones).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
    assert_eq!(sum, (1 << 21) as f32);
}

#[test]
fn a_number_that_the_user_set_is_respected() {
    if env::var_os(CHILD).is_some() {
        disable_candle_pool();
        assert_eq!(barrier_pool().n_workers(), 2);
        return;
    }
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_number_that_the_user_set_is_respected"])
        .env(VARIABLE, "3")
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert!(child.success());
}
