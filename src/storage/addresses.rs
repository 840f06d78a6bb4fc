//! How many addresses this process may still come to use, and so how many threads have room.

/// What glibc's allocator sets aside of the addresses for a thread that allocates, while there is room: its own arena.
const ARENA: u64 = match (cfg!(target_env = "gnu"), usize::BITS) {
    (false, _) => 0,
    (true, 64) => 64 << 20,
    (true, _) => 1 << 20,
};

/// A guard page, of whatever size, and the stack of signal handlers.
const BESIDES: u64 = 128 << 10;

/// Bytes of addresses that are left; `None` where there is no limit but that of the machine.
pub(crate) fn addresses_left() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    // Pages: all, resident, shared, text, 0, data and stacks.
    let pages: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let (all, data) = (*pages.first()?, *pages.get(5)?);
    // SAFETY: a system call that changes nothing.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    // SAFETY: system calls that write to the structure.
    let limits = [
        (limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_AS, limit) }), all),
        (limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_DATA, limit) }), data),
        // Of 4 GiB of addresses a kernel of 32 bits keeps one.
        ((usize::BITS == 32).then_some(3 << 30), all),
    ];
    let left = limits.into_iter().filter_map(|(limit, used)| Some((limit?, used * page)));
    left.map(|(limit, used)| limit.saturating_sub(used)).min()
}

/// The limit that is in force; `None` where there is none.
fn limit(get: impl FnOnce(&mut libc::rlimit) -> libc::c_int) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let limited = get(&mut limit) == 0 && limit.rlim_cur != libc::RLIM_INFINITY;
    #[allow(clippy::useless_conversion)] // 32 bits on some systems.
    limited.then_some(limit.rlim_cur.into())
}

/// How many of so many threads, the caller among them, have room for their stacks in the addresses that are left, with `reserve`
/// bytes for what they do. At least one. `stack` is the bytes of a stack.
pub fn threads_with_room(wanted: usize, stack: usize, reserve: u64) -> usize {
    let each = stack as u64 + BESIDES;
    addresses_left().map_or(wanted, |left| threads_within(wanted, each, reserve, left, ARENA))
}

fn threads_within(wanted: usize, each: u64, reserve: u64, mut left: u64, arena: u64) -> usize {
    let mut threads = 1;
    while threads < wanted {
        left = left.saturating_sub(each);
        // Where an arena has no room, threads share those that are there.
        left -= if left >= arena { arena } else { 0 };
        if left < reserve {
            break;
        }
        threads += 1;
    }
    threads
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn threads_leave_room_for_what_they_do() {
        let threads = |left| threads_within(200, 2 * MIB, 20 * MIB, left, 64 * MIB);
        assert_eq!((threads(u64::MAX), threads(0)), (200, 1));
        assert_eq!((threads(21 * MIB), threads(22 * MIB), threads(30 * MIB)), (1, 2, 6));
        // The first arena takes what others would need, and no second one has room.
        assert_eq!((threads(66 * MIB), threads(85 * MIB), threads(86 * MIB)), (1, 1, 2));
        assert_eq!(threads(100 * MIB), 9);
        assert_eq!(threads_within(200, 2 * MIB, 20 * MIB, 150 * MIB, 0), 66);
    }

    #[test]
    fn a_machine_without_limits_has_room_for_all() {
        if addresses_left().is_none() {
            assert_eq!(threads_with_room(1000, 1 << 21, 1 << 30), 1000);
        }
    }
}
