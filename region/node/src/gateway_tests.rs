//! Two and three nodes of a region, told what happens, and what each passes on.

use super::{Gateway, Pass};
use base::{NodeId, Position, RegionName, TopicName};
use link::ATTEMPT_BITS;
use wire::cluster::ClusterFrame;
use wire::region::RegionFrame;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

fn west() -> RegionName {
    RegionName::parse("west").unwrap()
}

fn topic() -> TopicName {
    TopicName::parse("persistent://acme/orders/t").unwrap()
}

fn link(number: u64) -> u64 {
    number << ATTEMPT_BITS | 1
}

fn entry(number: u64) -> RegionFrame {
    let position = Position::EARLIEST;
    RegionFrame::Entry { link: link(number), previous: position, position, data: base::EntryData::default() }
}

fn ack(number: u64) -> RegionFrame {
    RegionFrame::Ack { link: link(number), position: Position::EARLIEST, credit_bytes: 1 }
}

fn passes(gateway: &mut Gateway, act: impl FnOnce(&mut Gateway, &mut Vec<Pass>)) -> Vec<Pass> {
    let mut out = Vec::new();
    act(gateway, &mut out);
    out
}

/// Node 1 is the gateway of two nodes, and west is connected.
fn gateway() -> Gateway {
    let mut one = Gateway::new(ONE);
    passes(&mut one, |g, out| {
        g.set_gateway(Some(ONE), out);
        g.handle_node_up(TWO, out);
        g.handle_region_up(west(), out);
    });
    one
}

#[test]
fn the_gateway_tells_every_node_and_those_that_come_later() {
    let mut one = Gateway::new(ONE);
    assert_eq!(passes(&mut one, |g, out| g.set_gateway(Some(ONE), out)), [Pass::Connect { active: true }]);
    passes(&mut one, |g, out| g.handle_node_up(TWO, out));
    let up = || ClusterFrame::RegionUp { region: west() };
    let told = passes(&mut one, |g, out| g.handle_region_up(west(), out));
    assert_eq!(told, [Pass::Node { to: TWO, frame: up() }, Pass::RegionUp { region: west() }]);
    let later = passes(&mut one, |g, out| g.handle_node_up(NodeId(3), out));
    assert_eq!(later, [Pass::Node { to: NodeId(3), frame: up() }]);
}

#[test]
fn i1_a_node_believes_its_gateway_whichever_news_comes_first() {
    let mut two = Gateway::new(TWO);
    let early = passes(&mut two, |g, out| {
        g.handle_node_frame(ONE, ClusterFrame::RegionUp { region: west() }, out);
    });
    assert_eq!(early, [], "I1: node 1 is not its gateway yet");
    assert_eq!(passes(&mut two, |g, out| g.set_gateway(Some(ONE), out)), [Pass::RegionUp { region: west() }]);
    let lost = passes(&mut two, |g, out| g.handle_node_down(ONE, out));
    assert!(matches!(lost.as_slice(), [Pass::RegionDown { .. }]), "{lost:?}");
}

#[test]
fn i1_a_gateway_that_never_lost_this_node_is_believed_again_without_a_word() {
    let mut two = Gateway::new(TWO);
    let up = || ClusterFrame::RegionUp { region: west() };
    passes(&mut two, |g, out| {
        g.set_gateway(Some(ONE), out);
        g.handle_node_up(ONE, out);
        g.handle_node_frame(ONE, up(), out);
    });
    let lost = passes(&mut two, |g, out| g.handle_node_down(ONE, out));
    assert!(matches!(lost.as_slice(), [Pass::RegionDown { .. }]), "{lost:?}");
    let back = passes(&mut two, |g, out| g.handle_node_up(ONE, out));
    assert_eq!(back, [Pass::RegionUp { region: west() }], "I1");
    // When the gateway did lose this node it says so again, and the links begin anew.
    let again = passes(&mut two, |g, out| g.handle_node_frame(ONE, up(), out));
    assert!(matches!(again.as_slice(), [Pass::RegionDown { .. }, Pass::RegionUp { .. }]), "{again:?}");
}

#[test]
fn links_are_routed_to_the_nodes_that_hold_their_ends() {
    let mut one = gateway();
    let open = RegionFrame::Open { link: link(7), topic: topic() };
    let inbound = |frame: RegionFrame| Pass::Node { to: TWO, frame: ClusterFrame::Inbound { from: west(), frame } };
    let opened = passes(&mut one, |g, out| g.handle_region_frame(west(), open.clone(), |_| Some(TWO), out));
    assert_eq!(opened, [inbound(open)]);
    let came = passes(&mut one, |g, out| g.handle_region_frame(west(), entry(7), |_| None, out));
    assert_eq!(came, [inbound(entry(7))]);
    // Node 2 sends on its own link, and the answers find it.
    let own = RegionFrame::Open { link: link(9), topic: topic() };
    let outbound = ClusterFrame::Outbound { to: west(), group: 9, frame: own.clone() };
    let sent = passes(&mut one, |g, out| g.handle_node_frame(TWO, outbound, out));
    assert_eq!(sent, [Pass::Region { to: west(), group: 9, frame: own }]);
    assert_eq!(passes(&mut one, |g, out| g.handle_region_frame(west(), ack(9), |_| None, out)), [inbound(ack(9))]);
}

#[test]
fn an_open_for_nobodys_topic_reaches_the_gateways_own_broker() {
    let mut one = gateway();
    let open = RegionFrame::Open { link: link(7), topic: topic() };
    let passed = passes(&mut one, |g, out| g.handle_region_frame(west(), open.clone(), |_| None, out));
    assert_eq!(passed, [Pass::Broker { from: west(), frame: open }]);
}

#[test]
fn i2_the_links_of_a_lost_node_end_on_the_other_side() {
    let mut one = gateway();
    passes(&mut one, |g, out| {
        g.handle_region_frame(west(), RegionFrame::Open { link: link(7), topic: topic() }, |_| Some(TWO), out);
        let frame = RegionFrame::Open { link: link(9), topic: topic() };
        g.handle_node_frame(TWO, ClusterFrame::Outbound { to: west(), group: 9, frame }, out);
    });
    let ended = passes(&mut one, |g, out| g.handle_node_down(TWO, out));
    let [Pass::Region { frame: closed, .. }, Pass::Region { frame: refused, .. }] = ended.as_slice() else {
        panic!("I2: both sides are told, not {ended:?}")
    };
    assert!(matches!(closed, RegionFrame::Close { link: ended, .. } if *ended == link(9)));
    assert!(matches!(refused, RegionFrame::Refused { link: ended, retry: true, .. } if *ended == link(7)));
    let late = passes(&mut one, |g, out| g.handle_region_frame(west(), entry(7), |_| None, out));
    assert!(matches!(late.as_slice(), [Pass::Region { frame: RegionFrame::Refused { .. }, .. }]), "{late:?}");
}

#[test]
fn a_gateway_that_loses_its_office_lets_go_of_everything() {
    let mut one = gateway();
    let moved = passes(&mut one, |g, out| g.set_gateway(Some(TWO), out));
    assert!(matches!(moved.first(), Some(Pass::Node { to: TWO, frame: ClusterFrame::RegionDown { .. } })), "{moved:?}");
    assert!(moved.contains(&Pass::Connect { active: false }), "{moved:?}");
    assert!(moved.iter().any(|pass| matches!(pass, Pass::RegionDown { .. })), "{moved:?}");
    let sent = passes(&mut one, |g, out| g.send(west(), 3, ack(3), out));
    assert!(matches!(sent.as_slice(), [Pass::Node { to: TWO, frame: ClusterFrame::Outbound { .. } }]), "{sent:?}");
}
