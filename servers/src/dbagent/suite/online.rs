//! Checks of claims, leases and lists of claims.

use throng_core::wire::packets::Claim;

use super::trial::{CLAIMED, Checked, LATER, NOW, SYNCED, Trial, check_eq, concurrently};
use crate::dbagent::procedures::{
    Held, HeldList, Holder, OnlineClaim, PRUNE_AFTER_MS, Transfer, agent_number,
};

pub(super) fn claim_and_release(t: &mut Trial<'_>) -> Checked {
    let [a, b] = t.instances()?;
    let claim = t.claim_of(1, 10);
    check_eq!(t.claim(&claim, a, false)?, CLAIMED);
    check_eq!(t.claim(&t.claim_of(1, 11), a, false)?, OnlineClaim::AlreadyOnline);
    check_eq!(t.claim(&t.claim_of(1, 11), b, false)?, OnlineClaim::AlreadyOnline);
    check_eq!(t.claim(&t.claim_of(2, 11), b, false)?, CLAIMED);
    check_eq!(t.db.online_release(&claim, b.instance)?, false);
    check_eq!(t.db.online_release(&t.claim_of(1, 11), a.instance)?, false);
    check_eq!(t.is_online(claim.account)?, true);
    check_eq!(t.db.online_release(&claim, a.instance)?, true);
    check_eq!(t.db.online_release(&claim, a.instance)?, false);
    check_eq!(t.claim(&t.claim_of(1, 12), b, false)?, CLAIMED);
    Ok(())
}

pub(super) fn claim_needs_lease(t: &mut Trial<'_>) -> Checked {
    let claim = t.claim_of(1, 10);
    let unleased = t.holder(1);
    check_eq!(t.claim(&claim, unleased, false)?, OnlineClaim::NoLease);
    check_eq!(t.claim(&claim, unleased, true)?, OnlineClaim::NoLease);
    t.db.holder_renew(unleased, NOW)?;
    check_eq!(t.claim(&claim, unleased, false)?, OnlineClaim::NoLease);
    t.db.holder_renew(unleased, NOW + 1)?;
    check_eq!(t.claim(&claim, unleased, false)?, CLAIMED);
    Ok(())
}

pub(super) fn lease_ends(t: &mut Trial<'_>) -> Checked {
    let a = t.instance(1)?;
    let b = t.holder(2);
    t.db.holder_renew(b, u64::MAX)?;
    let [old, new] = [10, 11].map(|id| t.claim_of(1, id));
    check_eq!(t.claim(&old, a, false)?, CLAIMED);
    check_eq!(t.db.online_claim(&new, b, false, LATER - 1)?, OnlineClaim::AlreadyOnline);
    // No claim is displaced: the old one is not valid any more.
    check_eq!(t.db.online_claim(&new, b, false, LATER)?, CLAIMED);
    t.db.holder_renew(a, LATER + 30_000)?;
    check_eq!(t.db.online_release(&old, a.instance)?, false);
    check_eq!(t.db.online_transfer(&old, a, LATER)?, Transfer::Lost);
    // A renewal can also end a lease.
    t.db.holder_renew(b, LATER)?;
    check_eq!(t.db.online_claim(&t.claim_of(1, 12), a, false, LATER)?, CLAIMED);
    Ok(())
}

pub(super) fn take_over(t: &mut Trial<'_>) -> Checked {
    let [a, b] = t.instances()?;
    let [first, second, third] = [10, 11, 12].map(|id| t.claim_of(1, id));
    check_eq!(t.claim(&first, a, true)?, CLAIMED);
    let displaced = Some(Held { instance: a.instance, claim: first });
    check_eq!(t.claim(&second, b, true)?, OnlineClaim::Claimed { displaced });
    let displaced = Some(Held { instance: b.instance, claim: second });
    check_eq!(t.claim(&third, b, true)?, OnlineClaim::Claimed { displaced });
    // The displaced holders cannot change the new claim.
    check_eq!(t.db.online_release(&first, a.instance)?, false);
    check_eq!(t.db.online_release(&second, b.instance)?, false);
    check_eq!(t.db.online_transfer(&second, a, NOW)?, Transfer::Lost);
    check_eq!(t.is_online(third.account)?, true);
    Ok(())
}

pub(super) fn transfer(t: &mut Trial<'_>) -> Checked {
    let [login, chat] = t.instances()?;
    let claim = t.claim_of(1, 10);
    check_eq!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Lost);
    check_eq!(t.claim(&claim, login, false)?, CLAIMED);
    check_eq!(t.db.online_transfer(&claim, t.holder(3), NOW)?, Transfer::NoLease);
    check_eq!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Moved);
    check_eq!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Moved);
    check_eq!(t.db.online_release(&claim, login.instance)?, false);
    check_eq!(t.is_online(claim.account)?, true);
    check_eq!(t.db.online_release(&claim, chat.instance)?, true);
    check_eq!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Lost);
    Ok(())
}

pub(super) fn away_claims(t: &mut Trial<'_>) -> Checked {
    let [a, b] = t.instances()?;
    let [first, second, third] = [10, 11, 12].map(|id| t.claim_of(1, id));
    check_eq!(t.db.online_away(&first, a, true)?, false);
    check_eq!(t.claim(&first, a, false)?, CLAIMED);
    let elsewhere = Holder { agent: t.agent(2), ..a };
    for (claim, holder) in [(&second, a), (&first, b), (&first, elsewhere)] {
        check_eq!(t.db.online_away(claim, holder, true)?, false);
    }
    check_eq!(t.claim(&second, b, false)?, OnlineClaim::AlreadyOnline);
    for is_away in [true, true, false, false] {
        check_eq!(t.db.online_away(&first, a, is_away)?, true);
    }
    check_eq!(t.claim(&second, b, false)?, OnlineClaim::AlreadyOnline);
    check_eq!(t.db.online_away(&first, a, true)?, true);
    // The claim itself is the same call again.
    check_eq!(t.claim(&first, a, false)?, CLAIMED);
    let displaced = Some(Held { instance: a.instance, claim: first });
    for _ in 0..2 {
        check_eq!(t.claim(&second, b, false)?, OnlineClaim::Claimed { displaced: displaced.clone() });
    }
    // The new claim is not away, whatever the displaced holder says.
    check_eq!(t.db.online_away(&first, a, true)?, false);
    check_eq!(t.db.online_release(&first, a.instance)?, false);
    check_eq!(t.claim(&third, a, false)?, OnlineClaim::AlreadyOnline);
    check_eq!(t.db.online_away(&second, b, true)?, true);
    check_eq!(t.db.online_release(&second, b.instance)?, true);
    check_eq!(t.db.online_away(&second, b, true)?, false);
    check_eq!(t.claim(&third, a, false)?, CLAIMED);
    // An away claim without a lease is displaced no more than another one.
    check_eq!(t.db.online_away(&third, a, true)?, true);
    t.db.holder_renew(a, NOW)?;
    check_eq!(t.claim(&second, b, false)?, CLAIMED);
    check_eq!(t.is_online(second.account)?, true);
    Ok(())
}

pub(super) fn away_transfers(t: &mut Trial<'_>) -> Checked {
    let [login, chat] = t.instances()?;
    let [claim, other] = [10, 11].map(|id| t.claim_of(1, id));
    check_eq!(t.claim(&claim, login, false)?, CLAIMED);
    check_eq!(t.db.online_away(&claim, login, true)?, true);
    check_eq!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Moved);
    check_eq!(t.db.online_away(&claim, login, true)?, false);
    check_eq!(t.claim(&other, login, false)?, OnlineClaim::AlreadyOnline);
    check_eq!(t.db.online_away(&claim, chat, true)?, true);
    check_eq!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Moved);
    let displaced = Some(Held { instance: chat.instance, claim });
    check_eq!(t.claim(&other, login, false)?, OnlineClaim::Claimed { displaced });
    Ok(())
}

pub(super) fn away_lists(t: &mut Trial<'_>) -> Checked {
    let [one, b] = t.instances()?;
    let other = Holder { agent: t.agent(2), ..one };
    let [kept, released, moved, void] = [1, 2, 3, 4].map(|account| t.claim_of(account, 10));
    let valid = Claim { id: 11, ..void };
    let probe = |claim: &Claim| Claim { id: 99, ..*claim };
    for claim in [&kept, &released, &moved] {
        check_eq!(t.claim(claim, one, false)?, CLAIMED);
        check_eq!(t.db.online_away(claim, one, true)?, true);
    }
    check_eq!(t.claim(&valid, b, false)?, CLAIMED);
    check_eq!(t.db.online_release(&released, one.instance)?, true);
    check_eq!(t.db.online_transfer(&moved, b, NOW)?, Transfer::Moved);
    for claim in [&valid, &moved] {
        check_eq!(t.db.online_away(claim, b, true)?, true);
    }
    // What the list keeps or takes up is not away. The claims of another process stay as they are.
    let claims = [kept, released, moved, void];
    check_eq!(t.db.online_sync(&list(one, 5, true, &claims), NOW, LATER)?, vec![void]);
    for claim in [&kept, &released] {
        check_eq!(t.claim(&probe(claim), b, false)?, OnlineClaim::AlreadyOnline);
        check_eq!(t.db.online_away(claim, one, true)?, true);
    }
    for claim in [valid, moved] {
        let displaced = Some(Held { instance: b.instance, claim });
        check_eq!(t.claim(&probe(&claim), one, false)?, OnlineClaim::Claimed { displaced });
    }
    // A late list changes no mark.
    check_eq!(t.db.online_sync(&list(other, 4, false, &[kept]), NOW, LATER)?, SYNCED);
    let displaced = Some(Held { instance: one.instance, claim: kept });
    check_eq!(t.claim(&probe(&kept), b, false)?, OnlineClaim::Claimed { displaced });
    // The other agent vouches for the claim from now on, and a late mark by the first one is void.
    check_eq!(t.db.online_sync(&list(other, 6, false, &[released]), NOW, LATER)?, SYNCED);
    check_eq!(t.db.online_away(&released, one, true)?, false);
    check_eq!(t.claim(&probe(&released), b, false)?, OnlineClaim::AlreadyOnline);
    check_eq!(t.db.online_away(&released, other, true)?, true);
    let displaced = Some(Held { instance: one.instance, claim: released });
    check_eq!(t.claim(&probe(&released), b, false)?, OnlineClaim::Claimed { displaced });
    Ok(())
}

pub(super) fn concurrent_claims(t: &mut Trial<'_>) -> Checked {
    let instances: Vec<Holder> = (0..4).map(|number| t.instance(number)).collect::<Result<_, _>>()?;
    for round in 1..=5 {
        let account = t.claim_of(round, 1).account;
        let claimed = concurrently(t.connections, 20, |number, db| {
            let claim = Claim { account, id: number as u64 + 1 };
            Ok(db.online_claim(&claim, instances[number % 4], false, NOW)? == CLAIMED)
        })?;
        check_eq!(claimed, 1);
        // With take-over every claim succeeds and displaces the one before.
        let displaced = concurrently(t.connections, 20, |number, db| {
            let claim = Claim { account, id: number as u64 + 100 };
            let claimed = db.online_claim(&claim, instances[number % 4], true, NOW)?;
            Ok(matches!(claimed, OnlineClaim::Claimed { displaced: Some(_) }))
        })?;
        check_eq!(displaced, 20);
        // An away claim gives way once.
        let away = Claim { account, id: 1000 };
        t.claim(&away, instances[0], true)?;
        check_eq!(t.db.online_away(&away, instances[0], true)?, true);
        let displaced = Some(Held { instance: instances[0].instance, claim: away });
        let claimed = concurrently(t.connections, 20, |number, db| {
            let claim = Claim { account, id: number as u64 + 200 };
            let claimed = db.online_claim(&claim, instances[number % 4], false, NOW)?;
            Ok(claimed == OnlineClaim::Claimed { displaced: displaced.clone() })
        })?;
        check_eq!(claimed, 1);
    }
    Ok(())
}

pub(super) fn extremes(t: &mut Trial<'_>) -> Checked {
    let all = [1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 0x8000_0000_0000_0001];
    for account in all {
        for id in all {
            let holder = |instance| Holder { instance, agent: account };
            let one = holder(account ^ t.base);
            let other = holder(id.wrapping_add(1) ^ !t.base);
            t.db.holder_renew(one, LATER)?;
            t.db.holder_renew(other, LATER)?;
            let claim = Claim { account, id };
            check_eq!(matches!(t.claim(&claim, one, true)?, OnlineClaim::Claimed { .. }), true);
            let next = Claim { account, id: id ^ 2 };
            let displaced = Some(Held { instance: one.instance, claim });
            check_eq!(t.claim(&next, other, true)?, OnlineClaim::Claimed { displaced });
            check_eq!(t.db.online_transfer(&next, one, NOW)?, Transfer::Moved);
            check_eq!(t.db.online_away(&next, one, true)?, true);
            check_eq!(t.sync(one, std::slice::from_ref(&next))?, SYNCED);
            check_eq!(t.db.online_release(&next, one.instance)?, true);
        }
    }
    Ok(())
}

pub(super) fn sync_replaces(t: &mut Trial<'_>) -> Checked {
    let [a, b] = t.instances()?;
    let claims: Vec<Claim> = (0..600).map(|number| t.claim_of(number, number + 1)).collect();
    for claim in &claims[..3] {
        check_eq!(t.claim(claim, a, false)?, CLAIMED);
    }
    let foreign = t.claim_of(1000, 1);
    check_eq!(t.claim(&foreign, b, false)?, CLAIMED);
    // Claims 0 and 1 are not listed, 2 stays, the others are new, and the number 0 is ignored.
    let mut held = claims[2..].to_vec();
    held.push(t.claim_of(2000, 0));
    held.push(claims[2]);
    check_eq!(t.sync(a, &held)?, SYNCED);
    for (number, claim) in claims.iter().enumerate().filter(|(number, _)| number % 100 < 4) {
        check_eq!((number, t.is_online(claim.account)?), (number, number >= 2));
    }
    check_eq!(t.is_online(foreign.account)?, true);
    check_eq!(t.is_online(t.base + 2000)?, false);
    check_eq!(t.sync(a, &[])?, SYNCED);
    check_eq!(t.is_online(claims[2].account)?, false);
    check_eq!(t.is_online(claims[599].account)?, false);
    check_eq!(t.is_online(foreign.account)?, true);
    Ok(())
}

pub(super) fn sync_conflicts(t: &mut Trial<'_>) -> Checked {
    let [a, b] = t.instances()?;
    let dead = t.holder(3);
    t.db.holder_renew(dead, NOW + 1)?;
    let [lost, moved, abandoned, replaced] = [1, 2, 3, 4].map(|account| t.claim_of(account, 10));
    check_eq!(t.claim(&t.claim_of(1, 99), b, false)?, CLAIMED);
    check_eq!(t.claim(&moved, b, false)?, CLAIMED);
    check_eq!(t.db.online_claim(&t.claim_of(3, 99), dead, false, NOW)?, CLAIMED);
    // A claim of its own with another number, the answer to which was lost.
    check_eq!(t.claim(&t.claim_of(4, 99), a, false)?, CLAIMED);
    t.db.holder_renew(dead, NOW)?;
    let held = [lost, moved, abandoned, replaced];
    check_eq!(t.sync(a, &held)?, vec![lost]);
    check_eq!(t.db.online_release(&t.claim_of(1, 99), b.instance)?, true);
    check_eq!(t.db.online_release(&moved, a.instance)?, false);
    check_eq!(t.db.online_release(&moved, b.instance)?, true);
    check_eq!(t.db.online_release(&abandoned, a.instance)?, true);
    check_eq!(t.db.online_release(&replaced, a.instance)?, true);
    // A list renews the lease.
    let fresh = t.holder(4);
    check_eq!(t.sync(fresh, &[])?, SYNCED);
    check_eq!(t.claim(&t.claim_of(5, 1), fresh, false)?, CLAIMED);
    Ok(())
}

pub(super) fn repeats(t: &mut Trial<'_>) -> Checked {
    let [a, b] = t.instances()?;
    let [first, second] = [10, 11].map(|id| t.claim_of(1, id));
    for _ in 0..2 {
        check_eq!(t.claim(&first, a, false)?, CLAIMED);
    }
    let displaced = Some(Held { instance: a.instance, claim: first });
    for take_over in [true, true, false] {
        check_eq!(t.claim(&second, b, take_over)?, OnlineClaim::Claimed { displaced: displaced.clone() });
    }
    // A claim of the same number by another process is a different one.
    check_eq!(t.claim(&second, a, false)?, OnlineClaim::AlreadyOnline);
    let list = HeldList { holder: b, number: 1, is_first: true, claims: &[first, second] };
    for _ in 0..2 {
        check_eq!(t.db.online_sync(&list, NOW, LATER)?, vec![first]);
    }
    Ok(())
}

pub(super) fn agents(t: &mut Trial<'_>) -> Checked {
    let one = t.instance(1)?;
    let other = Holder { agent: t.agent(2), ..one };
    let [kept, lost, late] = [1, 2, 3].map(|account| t.claim_of(account, 10));
    check_eq!(t.claim(&kept, other, false)?, OnlineClaim::NoLease);
    t.db.holder_renew(other, LATER)?;
    for claim in [&kept, &lost] {
        check_eq!(t.claim(claim, one, false)?, CLAIMED);
    }
    // The process has lost its link to the first agent and lists its claims to the other.
    let list = HeldList { holder: other, number: 1, is_first: false, claims: &[kept] };
    check_eq!(t.db.online_sync(&list, NOW, LATER)?, SYNCED);
    check_eq!(t.is_online(lost.account)?, true);
    t.db.holder_renew(one, NOW)?;
    // The listed claim is held through the other agent; the one not listed ends with the lease.
    check_eq!(t.is_online(kept.account)?, true);
    check_eq!(t.is_online(lost.account)?, false);
    // A first list releases claims obtained through its own agent only.
    t.db.holder_renew(one, LATER)?;
    check_eq!(t.claim(&late, other, false)?, CLAIMED);
    t.lists = 1;
    check_eq!(t.sync(one, &[kept])?, SYNCED);
    check_eq!(t.is_online(late.account)?, true);
    check_eq!(t.sync(other, &[kept])?, SYNCED);
    check_eq!(t.is_online(late.account)?, false);
    check_eq!(t.is_online(kept.account)?, true);
    Ok(())
}

fn list(holder: Holder, number: u64, is_first: bool, claims: &[Claim]) -> HeldList<'_> {
    HeldList { holder, number, is_first, claims }
}

pub(super) fn late_lists(t: &mut Trial<'_>) -> Checked {
    let [a, b] = t.instances()?;
    let [kept, left, gone] = [1, 2, 3].map(|account| t.claim_of(account, 10));
    let other = Holder { agent: t.agent(2), ..a };
    check_eq!(t.claim(&left, a, false)?, CLAIMED);
    check_eq!(t.db.online_sync(&list(other, 2, true, &[kept]), NOW, LATER)?, SYNCED);
    // The first of two lists arrives last: its claims are stale, and the rest of its link is
    // released.
    t.db.holder_renew(a, NOW)?;
    check_eq!(t.db.online_sync(&list(a, 1, false, &[kept, left, gone]), NOW, LATER)?, SYNCED);
    check_eq!(t.is_online(gone.account)?, false);
    check_eq!(t.is_online(left.account)?, true);
    check_eq!(t.db.online_sync(&list(a, 1, true, &[kept, left, gone]), NOW, LATER)?, SYNCED);
    check_eq!(t.is_online(left.account)?, false);
    // It renews the lease nevertheless, and leaves the claims of the other agent alone.
    check_eq!(t.claim(&t.claim_of(4, 1), a, false)?, CLAIMED);
    t.db.holder_renew(a, NOW)?;
    check_eq!(t.is_online(kept.account)?, true);
    // Each process counts its own lists.
    check_eq!(t.db.online_sync(&list(b, 1, true, &[gone]), NOW, LATER)?, SYNCED);
    check_eq!(t.is_online(gone.account)?, true);
    Ok(())
}

pub(super) fn agent_starts(t: &mut Trial<'_>) -> Checked {
    let old = t.instance(1)?;
    let new = Holder { agent: t.agent(2), ..old };
    let foreign = Holder { agent: agent_number("other", 1), ..old };
    t.db.holder_renew(new, LATER)?;
    t.db.holder_renew(foreign, LATER)?;
    t.db.agent_start(new.agent, NOW + 1)?;
    t.db.agent_start(new.agent, NOW + 10)?;
    for (account, holder, is_valid) in [(1, old, false), (2, new, true), (3, foreign, true)] {
        let claimed = t.db.online_claim(&t.claim_of(account, 1), holder, false, NOW + 1)?;
        check_eq!((account, claimed), (account, if is_valid { CLAIMED } else { OnlineClaim::NoLease }));
    }
    Ok(())
}

pub(super) fn clock(t: &mut Trial<'_>) -> Checked {
    let first = t.db.clock()?;
    let second = t.db.clock()?;
    // From 2020 to 2100, and not backwards.
    check_eq!((1_577_836_800_000..4_102_444_800_000).contains(&first), true);
    check_eq!(second >= first && second - first < 60_000, true);
    Ok(())
}

pub(super) fn prune(t: &mut Trial<'_>) -> Checked {
    let [dead, alive] = t.instances()?;
    let [left, kept] = [1, 2].map(|account| t.claim_of(account, 10));
    check_eq!(t.claim(&left, dead, false)?, CLAIMED);
    check_eq!(t.claim(&kept, alive, false)?, CLAIMED);
    let long_after = LATER + PRUNE_AFTER_MS + 1;
    // Each call removes a bounded number of leases, and those of other checks may come first.
    for _ in 0..64 {
        t.lists += 1;
        let claims = std::slice::from_ref(&kept);
        let list = HeldList { holder: alive, number: t.lists, is_first: true, claims };
        check_eq!(t.db.online_sync(&list, long_after, long_after + 1)?, SYNCED);
    }
    check_eq!(t.db.online_release(&left, dead.instance)?, false);
    check_eq!(t.db.online_release(&kept, alive.instance)?, true);
    Ok(())
}
