//! Claims, leases and lists.

use throng_core::wire::packets::Claim;

use super::{CLAIMED, Checked, LATER, NOW, SYNCED, Trial, at_once};
use crate::dbagent::procedures::{
    Held, HeldList, Holder, OnlineClaim, PRUNE_AFTER_MS, Transfer, agent_number,
};

pub(super) fn claim_and_release(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let claim = t.claim_of(1, 10);
    expect!(t.claim(&claim, a, false)?, CLAIMED);
    expect!(t.claim(&t.claim_of(1, 11), a, false)?, OnlineClaim::AlreadyOnline);
    expect!(t.claim(&t.claim_of(1, 11), b, false)?, OnlineClaim::AlreadyOnline);
    expect!(t.claim(&t.claim_of(2, 11), b, false)?, CLAIMED);
    expect!(t.db.online_release(&claim, b.instance)?, false);
    expect!(t.db.online_release(&t.claim_of(1, 11), a.instance)?, false);
    expect!(t.is_online(claim.account)?, true);
    expect!(t.db.online_release(&claim, a.instance)?, true);
    expect!(t.db.online_release(&claim, a.instance)?, false);
    expect!(t.claim(&t.claim_of(1, 12), b, false)?, CLAIMED);
    Ok(())
}

pub(super) fn claim_needs_lease(t: &mut Trial<'_>) -> Checked {
    let claim = t.claim_of(1, 10);
    let stranger = t.holder(1);
    expect!(t.claim(&claim, stranger, false)?, OnlineClaim::NoLease);
    expect!(t.claim(&claim, stranger, true)?, OnlineClaim::NoLease);
    t.db.holder_renew(stranger, NOW)?;
    expect!(t.claim(&claim, stranger, false)?, OnlineClaim::NoLease);
    t.db.holder_renew(stranger, NOW + 1)?;
    expect!(t.claim(&claim, stranger, false)?, CLAIMED);
    Ok(())
}

pub(super) fn lease_ends(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.holder(2));
    t.db.holder_renew(b, u64::MAX)?;
    let (old, new) = (t.claim_of(1, 10), t.claim_of(1, 11));
    expect!(t.claim(&old, a, false)?, CLAIMED);
    expect!(t.db.online_claim(&new, b, false, LATER - 1)?, OnlineClaim::AlreadyOnline);
    // Nobody is displaced: the old claim counted for nothing.
    expect!(t.db.online_claim(&new, b, false, LATER)?, CLAIMED);
    t.db.holder_renew(a, LATER + 30_000)?;
    expect!(t.db.online_release(&old, a.instance)?, false);
    expect!(t.db.online_transfer(&old, a, LATER)?, Transfer::Lost);
    // A renewal also takes a lease back.
    t.db.holder_renew(b, LATER)?;
    expect!(t.db.online_claim(&t.claim_of(1, 12), a, false, LATER)?, CLAIMED);
    Ok(())
}

pub(super) fn take_over(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let (first, second, third) = (t.claim_of(1, 10), t.claim_of(1, 11), t.claim_of(1, 12));
    expect!(t.claim(&first, a, true)?, CLAIMED);
    let displaced = Some(Held { instance: a.instance, claim: first });
    expect!(t.claim(&second, b, true)?, OnlineClaim::Claimed { displaced });
    let displaced = Some(Held { instance: b.instance, claim: second });
    expect!(t.claim(&third, b, true)?, OnlineClaim::Claimed { displaced });
    // Those who went cannot touch the one who came.
    expect!(t.db.online_release(&first, a.instance)?, false);
    expect!(t.db.online_release(&second, b.instance)?, false);
    expect!(t.db.online_transfer(&second, a, NOW)?, Transfer::Lost);
    expect!(t.is_online(third.account)?, true);
    Ok(())
}

pub(super) fn transfer(t: &mut Trial<'_>) -> Checked {
    let (login, chat) = (t.instance(1)?, t.instance(2)?);
    let claim = t.claim_of(1, 10);
    expect!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Lost);
    expect!(t.claim(&claim, login, false)?, CLAIMED);
    expect!(t.db.online_transfer(&claim, t.holder(3), NOW)?, Transfer::NoLease);
    expect!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Moved);
    expect!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Moved);
    expect!(t.db.online_release(&claim, login.instance)?, false);
    expect!(t.is_online(claim.account)?, true);
    expect!(t.db.online_release(&claim, chat.instance)?, true);
    expect!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Lost);
    Ok(())
}

pub(super) fn concurrent_claims(t: &mut Trial<'_>) -> Checked {
    let instances: Vec<Holder> = (0..4).map(|number| t.instance(number)).collect::<Result<_, _>>()?;
    for round in 1..=5 {
        let account = t.claim_of(round, 1).account;
        let claimed = at_once(t.connections, 20, |number, db| {
            let claim = Claim { account, id: number as u64 + 1 };
            Ok(db.online_claim(&claim, instances[number % 4], false, NOW)? == CLAIMED)
        })?;
        expect!(claimed, 1);
        // With take-over all get in, one after the other, and all but the last are displaced once.
        let displaced = at_once(t.connections, 20, |number, db| {
            let claim = Claim { account, id: number as u64 + 100 };
            let claimed = db.online_claim(&claim, instances[number % 4], true, NOW)?;
            Ok(matches!(claimed, OnlineClaim::Claimed { displaced: Some(_) }))
        })?;
        expect!(displaced, 20);
    }
    Ok(())
}

pub(super) fn extremes(t: &mut Trial<'_>) -> Checked {
    let all = [1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 0x8000_0000_0000_0001];
    for account in all {
        for id in all {
            let holder = |instance| Holder { instance, agent: account };
            let (one, other) = (holder(account ^ t.base), holder(id.wrapping_add(1) ^ !t.base));
            t.db.holder_renew(one, LATER)?;
            t.db.holder_renew(other, LATER)?;
            let claim = Claim { account, id };
            expect!(matches!(t.claim(&claim, one, true)?, OnlineClaim::Claimed { .. }), true);
            let next = Claim { account, id: id ^ 2 };
            let displaced = Some(Held { instance: one.instance, claim });
            expect!(t.claim(&next, other, true)?, OnlineClaim::Claimed { displaced });
            expect!(t.db.online_transfer(&next, one, NOW)?, Transfer::Moved);
            expect!(t.sync(one, std::slice::from_ref(&next))?, SYNCED);
            expect!(t.db.online_release(&next, one.instance)?, true);
        }
    }
    Ok(())
}

pub(super) fn sync_replaces(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let claims: Vec<Claim> = (0..600).map(|number| t.claim_of(number, number + 1)).collect();
    for claim in &claims[..3] {
        expect!(t.claim(claim, a, false)?, CLAIMED);
    }
    let foreign = t.claim_of(1000, 1);
    expect!(t.claim(&foreign, b, false)?, CLAIMED);
    // 0 and 1 are forgotten, 2 stays, the others are new, and a number 0 is no claim.
    let mut held = claims[2..].to_vec();
    held.push(t.claim_of(2000, 0));
    held.push(claims[2]);
    expect!(t.sync(a, &held)?, SYNCED);
    for (number, claim) in claims.iter().enumerate().filter(|(number, _)| number % 100 < 4) {
        expect!((number, t.is_online(claim.account)?), (number, number >= 2));
    }
    expect!(t.is_online(foreign.account)?, true);
    expect!(t.is_online(t.base + 2000)?, false);
    expect!(t.sync(a, &[])?, SYNCED);
    expect!(t.is_online(claims[2].account)?, false);
    expect!(t.is_online(claims[599].account)?, false);
    expect!(t.is_online(foreign.account)?, true);
    Ok(())
}

pub(super) fn sync_conflicts(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let dead = t.holder(3);
    t.db.holder_renew(dead, NOW + 1)?;
    let [lost, moved, abandoned, replaced] = [1, 2, 3, 4].map(|account| t.claim_of(account, 10));
    expect!(t.claim(&t.claim_of(1, 99), b, false)?, CLAIMED);
    expect!(t.claim(&moved, b, false)?, CLAIMED);
    expect!(t.db.online_claim(&t.claim_of(3, 99), dead, false, NOW)?, CLAIMED);
    // Its own claim of another number, whose answer never arrived.
    expect!(t.claim(&t.claim_of(4, 99), a, false)?, CLAIMED);
    t.db.holder_renew(dead, NOW)?;
    let held = [lost, moved, abandoned, replaced];
    expect!(t.sync(a, &held)?, vec![lost]);
    expect!(t.db.online_release(&t.claim_of(1, 99), b.instance)?, true);
    expect!(t.db.online_release(&moved, a.instance)?, false);
    expect!(t.db.online_release(&moved, b.instance)?, true);
    expect!(t.db.online_release(&abandoned, a.instance)?, true);
    expect!(t.db.online_release(&replaced, a.instance)?, true);
    // The list came with a lease.
    let fresh = t.holder(4);
    expect!(t.sync(fresh, &[])?, SYNCED);
    expect!(t.claim(&t.claim_of(5, 1), fresh, false)?, CLAIMED);
    Ok(())
}

/// What a call says again when its answer was lost.
pub(super) fn repeats(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let (first, second) = (t.claim_of(1, 10), t.claim_of(1, 11));
    for _ in 0..2 {
        expect!(t.claim(&first, a, false)?, CLAIMED);
    }
    let displaced = Some(Held { instance: a.instance, claim: first });
    for take_over in [true, true, false] {
        expect!(t.claim(&second, b, take_over)?, OnlineClaim::Claimed { displaced: displaced.clone() });
    }
    // The same number at another process is another claim.
    expect!(t.claim(&second, a, false)?, OnlineClaim::AlreadyOnline);
    let list = HeldList { holder: b, number: 1, is_first: true, claims: &[first, second] };
    for _ in 0..2 {
        expect!(t.db.online_sync(&list, NOW, LATER)?, vec![first]);
    }
    Ok(())
}

pub(super) fn agents(t: &mut Trial<'_>) -> Checked {
    let (one, other) = (t.instance(1)?, Holder { agent: t.agent(2), ..t.holder(1) });
    let [kept, lost, late] = [1, 2, 3].map(|account| t.claim_of(account, 10));
    expect!(t.claim(&kept, other, false)?, OnlineClaim::NoLease);
    t.db.holder_renew(other, LATER)?;
    for claim in [&kept, &lost] {
        expect!(t.claim(claim, one, false)?, CLAIMED);
    }
    // The process has lost the link to the one agent, and names what it holds to the other.
    let list = HeldList { holder: other, number: 1, is_first: false, claims: &[kept] };
    expect!(t.db.online_sync(&list, NOW, LATER)?, SYNCED);
    expect!(t.is_online(lost.account)?, true);
    t.db.holder_renew(one, NOW)?;
    // What came by the one agent and was not named is free, and what was named is held by the other.
    expect!(t.is_online(kept.account)?, true);
    expect!(t.is_online(lost.account)?, false);
    // What came by an agent is not touched by another one's first list, and is by its own.
    t.db.holder_renew(one, LATER)?;
    expect!(t.claim(&late, other, false)?, CLAIMED);
    t.lists = 1;
    expect!(t.sync(one, &[kept])?, SYNCED);
    expect!(t.is_online(late.account)?, true);
    expect!(t.sync(other, &[kept])?, SYNCED);
    expect!(t.is_online(late.account)?, false);
    expect!(t.is_online(kept.account)?, true);
    Ok(())
}

pub(super) fn late_lists(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let (kept, left, gone) = (t.claim_of(1, 10), t.claim_of(2, 10), t.claim_of(3, 10));
    let other = Holder { agent: t.agent(2), ..a };
    let (all, one, last) = ([kept, left, gone], [kept], [gone]);
    let list = |holder, number, is_first, claims| HeldList { holder, number, is_first, claims };
    expect!(t.claim(&left, a, false)?, CLAIMED);
    expect!(t.db.online_sync(&list(other, 2, true, &one), NOW, LATER)?, SYNCED);
    // The first of two lists comes last. What it says is no longer so, and what is left of its link goes.
    t.db.holder_renew(a, NOW)?;
    expect!(t.db.online_sync(&list(a, 1, false, &all), NOW, LATER)?, SYNCED);
    expect!(t.is_online(gone.account)?, false);
    expect!(t.is_online(left.account)?, true);
    expect!(t.db.online_sync(&list(a, 1, true, &all), NOW, LATER)?, SYNCED);
    expect!(t.is_online(left.account)?, false);
    // It renews the lease all the same, and takes nothing from the other agent.
    expect!(t.claim(&t.claim_of(4, 1), a, false)?, CLAIMED);
    t.db.holder_renew(a, NOW)?;
    expect!(t.is_online(kept.account)?, true);
    // Each process counts for itself.
    expect!(t.db.online_sync(&list(b, 1, true, &last), NOW, LATER)?, SYNCED);
    expect!(t.is_online(gone.account)?, true);
    Ok(())
}

pub(super) fn agent_starts(t: &mut Trial<'_>) -> Checked {
    let old = t.instance(1)?;
    let (new, foreign) =
        (Holder { agent: t.agent(2), ..old }, Holder { agent: agent_number("other", 1), ..old });
    t.db.holder_renew(new, LATER)?;
    t.db.holder_renew(foreign, LATER)?;
    t.db.agent_start(new.agent, NOW + 1)?;
    t.db.agent_start(new.agent, NOW + 10)?;
    for (account, holder, is_valid) in [(1, old, false), (2, new, true), (3, foreign, true)] {
        let claimed = t.db.online_claim(&t.claim_of(account, 1), holder, false, NOW + 1)?;
        expect!((account, claimed), (account, if is_valid { CLAIMED } else { OnlineClaim::NoLease }));
    }
    Ok(())
}

pub(super) fn clock(t: &mut Trial<'_>) -> Checked {
    let first = t.db.clock()?;
    let second = t.db.clock()?;
    // From 2020 to 2100, and not backwards.
    expect!((1_577_836_800_000..4_102_444_800_000).contains(&first), true);
    expect!(second >= first && second - first < 60_000, true);
    Ok(())
}

pub(super) fn prune(t: &mut Trial<'_>) -> Checked {
    let (dead, alive) = (t.instance(1)?, t.instance(2)?);
    let [left, kept] = [1, 2].map(|account| t.claim_of(account, 10));
    expect!(t.claim(&left, dead, false)?, CLAIMED);
    expect!(t.claim(&kept, alive, false)?, CLAIMED);
    let long_after = LATER + PRUNE_AFTER_MS + 1;
    // Other checks' leases are in the way, a bounded number of them at a time.
    for _ in 0..64 {
        t.lists += 1;
        let claims = std::slice::from_ref(&kept);
        let list = HeldList { holder: alive, number: t.lists, is_first: true, claims };
        expect!(t.db.online_sync(&list, long_after, long_after + 1)?, SYNCED);
    }
    expect!(t.db.online_release(&left, dead.instance)?, false);
    expect!(t.db.online_release(&kept, alive.instance)?, true);
    Ok(())
}
