//! How many threads there should be.

use std::collections::BTreeSet;

/// Threads that this process should use unless told otherwise: the physical cores that it may run
/// on, at most what the machine gives the process (affinity, cgroup).
pub fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    physical_cores().map_or(allowed, |cores| cores.clamp(1, allowed))
}

/// The cores behind the CPUs that this process may run on; `None` where the system does not say.
fn physical_cores() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let cores: Option<BTreeSet<String>> = cpu_list(list)?.into_iter().map(siblings).collect();
    Some(cores?.len())
}

/// Who shares the core of a CPU: the same text for each of them.
fn siblings(cpu: usize) -> Option<String> {
    let topology = format!("/sys/devices/system/cpu/cpu{cpu}/topology");
    // The older name is what kernels before 5.3 have.
    let read = |name| std::fs::read_to_string(format!("{topology}/{name}"));
    read("core_cpus_list").or_else(|_| read("thread_siblings_list")).ok()
}

/// The numbers of a list like `0-3,8`.
fn cpu_list(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // A machine with more CPUs than that is not what this text describes.
        if last >= 1 << 16 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_threads_are_within_what_the_system_allows() {
        let allowed = std::thread::available_parallelism().unwrap().get();
        assert!((1..=allowed).contains(&default_threads()));
        assert_eq!(cpu_list(" 0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(cpu_list("5"), Some(vec![5]));
        assert_eq!(cpu_list("x-2"), None);
        assert_eq!(cpu_list("0-99999999999"), None);
    }
}
