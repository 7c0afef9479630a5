//! Which sampling expert serves a timestep (arXiv 2310.12004 section 3.1).

/// The expert of timestep `t` where `experts` of them share `0..train_steps` evenly.
/// A boundary belongs to the later one: 250 of 1000 is expert 1 of four.
pub fn expert_of(t: u32, train_steps: u32, experts: u32) -> usize {
    if train_steps == 0 || experts == 0 {
        return 0;
    }
    let expert = u64::from(t) * u64::from(experts) / u64::from(train_steps);
    expert.min(u64::from(experts) - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::expert_of;

    #[test]
    fn boundaries_belong_to_the_later_expert() {
        let seen: Vec<_> = [0, 249, 250, 499, 500, 749, 750, 999].map(|t| expert_of(t, 1000, 4)).to_vec();
        assert_eq!(seen, [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(expert_of(5000, 1000, 4), 3);
        assert_eq!(expert_of(5, 0, 0), 0);
    }
}
