//! How much memory this process can still have: of the machine, of its control group, of its address space.

use std::path::{Path, PathBuf};

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) bytes: u64,
    /// Whether going beyond fails for certain: the machine as a whole may still swap.
    pub(super) hard: bool,
    /// Of what, in words.
    pub(super) of: &'static str,
}

/// Left alone for everything that no plan counts: stacks, tables, the host's own small things.
const SLACK: u64 = 64 << 20;

/// The tightest of the limits there are; nothing where the system tells none.
pub(super) fn free() -> Option<Free> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    free_in(&read)
}

fn free_in(read: &dyn Fn(&Path) -> Option<String>) -> Option<Free> {
    let machine = read(Path::new("/proc/meminfo"))
        .and_then(|text| field(&text, "MemAvailable:"))
        .map(|kib| Free { bytes: kib.saturating_mul(1024), hard: false, of: "the machine's memory" });
    let space =
        read(Path::new("/proc/self/limits")).and_then(|text| address_space(&text)).and_then(|limit| {
            let used = read(Path::new("/proc/self/status")).and_then(|text| field(&text, "VmSize:"))?;
            let bytes = limit.saturating_sub(used.saturating_mul(1024));
            Some(Free { bytes, hard: true, of: "the address space that this process may have" })
        });
    let group = control_group(read).map(|bytes| Free {
        bytes,
        hard: true,
        of: "the memory that this control group may have",
    });
    let tightest = [machine, space, group].into_iter().flatten().min_by_key(|f| f.bytes)?;
    Some(Free { bytes: tightest.bytes.saturating_sub(SLACK), ..tightest })
}

/// The number behind `name` in a list of lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Soft limit of the address space; nothing where there is none.
fn address_space(limits: &str) -> Option<u64> {
    field(limits, "Max address space")
}

/// Bytes left in the tightest group above this process, version 2, or version 1 where that is in use.
fn control_group(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, limit, used) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            c if c.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
            }
            _ => continue,
        };
        let mut folder = PathBuf::from(format!("{root}{path}"));
        while folder.starts_with(root) {
            let number = |name: &str| read(&folder.join(name)).and_then(|t| t.trim().parse::<u64>().ok());
            if let (Some(limit), Some(used)) = (number(limit), number(used)) {
                // What the group's files hold in the cache can be given back.
                let cache = read(&folder.join("memory.stat")).and_then(|t| field(&t, "inactive_file "));
                let left = limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0)));
                least = Some(least.map_or(left, |l: u64| l.min(left)));
            }
            if !folder.pop() {
                break;
            }
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const MEMINFO: &str = "MemTotal:       24000000 kB\nMemFree: 1000 kB\nMemAvailable:   2097152 kB\n";
    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max address space         4294967296           unlimited            bytes     \n";

    fn files(list: &[(&'static str, &'static str)]) -> impl Fn(&Path) -> Option<String> {
        let map: HashMap<_, _> = list.iter().copied().collect();
        move |path: &Path| map.get(path.to_str()?).map(|t| (*t).to_owned())
    }

    fn bytes(list: &[(&'static str, &'static str)]) -> Option<(u64, bool)> {
        free_in(&files(list)).map(|f| (f.bytes + SLACK, f.hard))
    }

    #[test]
    fn the_tightest_limit_counts() {
        let machine = ("/proc/meminfo", MEMINFO);
        assert_eq!(bytes(&[]), None);
        assert_eq!(bytes(&[machine]), Some((2 << 30, false)));
        let limits = ("/proc/self/limits", LIMITS);
        let small = ("/proc/self/status", "VmPeak:  9 kB\nVmSize:  3145728 kB\n");
        assert_eq!(bytes(&[machine, limits, small]), Some((1 << 30, true)));
        let none =
            ("/proc/self/limits", "Max address space         unlimited            unlimited     bytes\n");
        assert_eq!(bytes(&[machine, none, small]), Some((2 << 30, false)));
    }

    #[test]
    fn a_group_is_as_tight_as_the_tightest_above_it() {
        let list = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "0::/user/job\n"),
            ("/sys/fs/cgroup/user/job/memory.max", "max\n"),
            ("/sys/fs/cgroup/user/job/memory.current", "100\n"),
            ("/sys/fs/cgroup/user/memory.max", "1073741824\n"),
            ("/sys/fs/cgroup/user/memory.current", "1000000000\n"),
            ("/sys/fs/cgroup/user/memory.stat", "anon 1\ninactive_file 463129088\n"),
        ];
        assert_eq!(bytes(&list), Some((1_073_741_824 - (1_000_000_000 - 463_129_088), true)));
        let old = [
            ("/proc/self/cgroup", "5:cpu:/x\n4:blkio,memory:/x\n"),
            ("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "500000000\n"),
            ("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "100000000\n"),
        ];
        assert_eq!(bytes(&old), Some((400_000_000, true)));
    }

    #[test]
    fn this_machine_has_some() {
        if cfg!(target_os = "linux") {
            assert!(free().is_some_and(|f| f.bytes > 0));
        }
    }
}
