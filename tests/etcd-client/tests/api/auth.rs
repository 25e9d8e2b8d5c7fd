use super::server::{one, refusal};
use etcd_client::{GetOptions, Permission, UserAddOptions};

#[tokio::test]
async fn users_may_do_what_their_roles_allow_and_nothing_else() {
    let (server, mut client) = one().await;
    client.put("private", "secret", None).await.unwrap();
    for user in ["root", "ann"] {
        client.user_add(user, format!("{user}-pw"), None).await.unwrap();
    }
    client.user_add("certified", "", Some(UserAddOptions::new().with_no_pwd())).await.unwrap();
    for role in ["root", "reader", "writer"] {
        client.role_add(role).await.unwrap();
    }
    client.role_grant_permission("reader", Permission::read("public/").with_prefix()).await.unwrap();
    client.role_grant_permission("writer", Permission::read_write("mine")).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.user_grant_role("ann", "reader").await.unwrap();
    client.user_grant_role("ann", "writer").await.unwrap();
    assert_eq!(client.user_list().await.unwrap().users(), ["ann", "certified", "root"]);
    assert_eq!(client.role_list().await.unwrap().roles(), ["reader", "root", "writer"]);
    assert_eq!(client.user_get("ann").await.unwrap().roles(), ["reader", "writer"]);
    let permissions = client.role_get("reader").await.unwrap().permissions();
    assert_eq!(
        (permissions.len(), permissions[0].key(), permissions[0].range_end()),
        (1, &b"public/"[..], &b"public0"[..])
    );

    client.auth_enable().await.unwrap();
    assert_eq!(refusal(client.get("private", None).await), "etcdserver: user name is empty");
    let wrong = server.client_as("ann", "guess").await.err().expect("a wrong password is refused");
    assert!(wrong.to_string().contains("authentication failed, invalid user ID or password"), "{wrong}");

    let mut ann = server.client_as("ann", "ann-pw").await.unwrap();
    ann.put("mine", "1", None).await.unwrap();
    assert_eq!(ann.get("public/", Some(GetOptions::new().with_prefix())).await.unwrap().count(), 0);
    for refused in [
        refusal(ann.get("private", None).await),
        refusal(ann.put("public/x", "", None).await),
        refusal(ann.delete("private", None).await),
        refusal(ann.user_add("eve", "pw", None).await),
    ] {
        assert_eq!(refused, "etcdserver: permission denied");
    }

    let mut root = server.client_as("root", "root-pw").await.unwrap();
    assert_eq!(root.get("private", None).await.unwrap().kvs()[0].value_str().unwrap(), "secret");
    root.role_revoke_permission("writer", "mine", None).await.unwrap();
    assert_eq!(refusal(ann.put("mine", "2", None).await), "etcdserver: permission denied");
    root.user_change_password("ann", "changed").await.unwrap();
    assert!(server.client_as("ann", "ann-pw").await.is_err());
    let mut again = server.client_as("ann", "changed").await.unwrap();
    assert_eq!(
        again.user_get("ann").await.unwrap().roles(),
        ["reader", "writer"],
        "everybody may look at himself"
    );
    root.user_revoke_role("ann", "reader").await.unwrap();
    root.role_delete("writer").await.unwrap();
    assert!(root.user_get("ann").await.unwrap().roles().is_empty());
    root.user_delete("ann").await.unwrap();
    assert_eq!(refusal(root.user_get("ann").await), "etcdserver: user name not found");
    root.auth_disable().await.unwrap();
    assert_eq!(client.get("mine", None).await.unwrap().count(), 1);
}
