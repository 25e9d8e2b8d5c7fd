//! Encrypted connections over loopback, and who is not let in.

use super::*;
use crate::{
    metrics::Metrics,
    tls::{Accept, Own, PeerTls},
};

/// A member's side, with a certificate that nobody signed.
fn certificate(dir: &tempfile::TempDir) -> Arc<PeerTls> {
    let own = Own::made_in(dir.path(), &["localhost".to_string()], 1).unwrap();
    Arc::new(PeerTls::open(Accept::anybody(own.clone()), own).unwrap())
}

fn settings(node: NodeId, tls: Option<Arc<PeerTls>>) -> Settings {
    let (heartbeat, election) = (Duration::from_millis(20), Duration::from_secs(3));
    Settings { own: Party { cluster: 5, node }, heartbeat, election, tls, metrics: Arc::default() }
}

fn network(node: NodeId, listener: TcpListener, tls: &Arc<PeerTls>, ear: &Arc<Ear>) -> Network {
    let port = Port { listener, tls: true };
    Network::start(settings(node, Some(tls.clone())), vec![port], ear.clone()).unwrap()
}

fn secure(address: SocketAddr) -> Address {
    Address::of_url(&format!("https://{address}"))
}

#[test]
fn messages_images_and_questions_are_encrypted() {
    let dir = tempfile::tempdir().unwrap();
    let tls = certificate(&dir);
    let (listener, address) = bind();
    let ears = [Arc::new(Ear::default()), Arc::new(Ear::default())];
    let (metrics, port) = (Arc::new(Metrics::default()), Port { listener: bind().0, tls: true });
    let settings_of_one = Settings { metrics: metrics.clone(), ..settings(ONE, Some(tls.clone())) };
    let mut one = Network::start(settings_of_one, vec![port], ears[0].clone()).unwrap();
    let two = network(TWO, listener, &tls, &ears[1]);
    one.set_peers(&BTreeMap::from([(TWO, vec![secure(address)])])).unwrap();
    eventually("the peer is reached", || say(&mut one, TWO, 1));
    // Far more at once than a socket takes.
    let tag = Tag { epoch: 1, number: 2 };
    let large = Bytes::from(vec![7; 1 << 20]);
    for _ in 0..16 {
        let query = PeerMessage::LeaseQuery { tag, query: large.clone() };
        eventually("a message is taken", || one.queue(TWO, &query));
        one.flush();
    }
    eventually("all have arrived", || ears[1].messages.lock().len() >= 17);
    let whole = |message: &PeerMessage| match message {
        PeerMessage::LeaseQuery { query, .. } => *query == large,
        other => *other == PeerMessage::ReadIndex { tag: Tag { epoch: 1, number: 1 } },
    };
    assert!(ears[1].messages.lock().iter().all(|(from, message)| *from == ONE && whole(message)));
    // It is pinged, and the pongs are understood: the connection stays.
    assert_eq!(*ears[0].lost.lock(), 0);
    assert!(metrics.peers.of(TWO).sent.get() > 16 << 20, "bytes are counted");

    let install = message(Body::InstallSnapshot { meta: meta() });
    one.send_image(install, Box::new(Chunks(vec![vec![1; 300_000], vec![2; 300_000]])));
    eventually("the sender knows", || !ears[0].sent.lock().is_empty());
    assert_eq!(*ears[0].sent.lock(), [(TWO, true)]);
    assert_eq!(ears[1].image.lock().len(), 600_000);
    let answer = ask(&secure(address), &settings(ONE, Some(tls)), Some(TWO), Bytes::from_static(b"?"));
    assert_eq!(answer.unwrap()[..], *b"\x01\0\0\0\0\0\0\0?");
    drop(two);
    eventually("the loss is noticed", || *ears[0].lost.lock() == 1);
}

#[test]
fn who_does_not_encrypt_is_turned_away_and_the_other_way_round() {
    let dir = tempfile::tempdir().unwrap();
    let tls = certificate(&dir);
    let ear = Arc::new(Ear::default());
    let (listener, encrypted) = bind();
    let _two = network(TWO, listener, &tls, &ear);
    let (listener, plain) = bind();
    let _three = start(NodeId(3), 5, listener, &ear);
    let question = Bytes::from_static(b"?");
    let ask = |address: &Address, tls: Option<&Arc<PeerTls>>| {
        ask(address, &settings(ONE, tls.cloned()), None, question.clone())
    };
    // A member without certificates, one that takes a plain port for an encrypted one, and the reverse.
    let error = ask(&secure(encrypted), None).unwrap_err().to_string();
    assert!(error.contains("--peer-cert-file"), "{error}");
    ask(&secure(plain), Some(&tls)).unwrap_err();
    ask(&Address::of_url(&format!("http://{encrypted}")), Some(&tls)).unwrap_err();
    // And what is no protocol at all, byte by byte, half of it, or silence that ends.
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[22, 3, 1, 255, 255, 1], &[0; 64], &[]] {
        let mut stream = TcpStream::connect(encrypted).unwrap();
        for byte in noise {
            // It may have hung up already.
            let _ = stream.write_all(&[*byte]);
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        // At most an alert: nothing of a member.
        assert!(said.len() < 40, "{said:?}");
    }
    assert!(ear.messages.lock().is_empty());
    let answer = ask(&secure(encrypted), Some(&tls)).unwrap();
    assert_eq!(answer[..], *b"\0\0\0\0\0\0\0\0?", "the port serves on");
}

#[test]
fn the_cause_is_told_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let tls = certificate(&dir);
    let mut accepting = tls.accept().unwrap();
    let mut plain = io::Cursor::new(b"ASSAYNET and so on".to_vec());
    let error = stream::receive(&mut accepting, &mut plain).unwrap_err();
    let error = handshake::HandshakeError::from(error).to_string();
    assert!(error.contains("does not speak TLS"), "{error}");
    let mut calling = Vec::new();
    tls.call("localhost").unwrap().write_tls(&mut calling).unwrap();
    let own = Party { cluster: 5, node: ONE };
    let error = handshake::answer(&mut io::Cursor::new(calling), own, |_| false).unwrap_err().to_string();
    assert!(error.contains("speaks TLS, but --listen-peer-urls has http://"), "{error}");
}
