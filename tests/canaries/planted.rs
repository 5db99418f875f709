//! A namespace full of secrets in the places where people leave them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A generator whose numbers follow from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut next = self.0;
        next = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        next = (next ^ (next >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        next ^ (next >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn of(&mut self, alphabet: &str, length: usize) -> String {
        (0..length)
            .map(|_| char::from(alphabet.as_bytes()[self.below(alphabet.len())]))
            .collect()
    }
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const WORDS: &[&str] = &[
    "otter", "Lamp", "river", "Quartz", "maple", "Ember", "violet", "Anchor", "pebble", "Walnut",
];

/// How a canary may look where it is planted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Anything, blanks, quotes and letters of other languages too.
    Any,
    /// Without what ends a word.
    Word,
    /// The same, and short now and then.
    Short,
}

fn canary(random: &mut Random, index: usize, shape: Shape) -> String {
    let alphanumeric = format!("{LETTERS}{DIGITS}");
    let marks = |random: &mut Random| random.of("!-_~*^+.", 1);
    match (random.below(9), shape) {
        (0, _) => STANDARD.encode((0..24).map(|_| random.below(256) as u8).collect::<Vec<_>>()),
        (1, _) => random.of("0123456789abcdef", 40),
        (2 | 3, _) => {
            let words: String = (0..3)
                .map(|_| WORDS[random.below(WORDS.len())].to_owned() + &marks(random))
                .collect();
            format!("{words}{index}")
        }
        (4, Shape::Short) => random.of(LETTERS, 1) + &random.of("!^~", 1) + &random.of(DIGITS, 1) + &random.of(LETTERS, 1),
        (5, Shape::Short) => random.of(&alphanumeric, 5) + &random.of(DIGITS, 2),
        (4 | 5, Shape::Any) => format!("p{}\"a\\ss&<{index}>/ {}'ü", random.of(&alphanumeric, 4), random.of("=?#@;,", 2)),
        (6, _) => URL_SAFE_NO_PAD.encode((0..32).map(|_| random.below(256) as u8).collect::<Vec<_>>()),
        _ => random.of(&alphanumeric, 24) + &random.of(DIGITS, 2),
    }
}

/// As a client writes it into a URL.
fn in_url(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[derive(Clone, Default)]
pub struct World {
    pub canaries: Vec<String>,
    /// That of the kubeconfig.
    pub token: String,
    /// What the API says of a kind that may not be listed.
    pub refusal: String,
    lists: BTreeMap<&'static str, Vec<Value>>,
    /// By pod.
    pub logs: Vec<(String, Vec<String>)>,
}

/// Plural, API version and kind.
const KINDS: &[(&str, &str, &str)] = &[
    ("secrets", "v1", "Secret"),
    ("configmaps", "v1", "ConfigMap"),
    ("events", "v1", "Event"),
    ("pods", "v1", "Pod"),
    ("jobs", "batch/v1", "Job"),
    ("helmreleases", "helm.toolkit.fluxcd.io/v2", "HelmRelease"),
    ("kustomizations", "kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
];
const PODS: usize = 12;

impl World {
    pub fn new(many: usize) -> Self {
        let mut world = Self {
            logs: (0..PODS).map(|n| (format!("orders-{n}"), vec!["starting".to_owned()])).collect(),
            ..Self::default()
        };
        for n in 0..PODS {
            let status = json!({"phase": "Running", "containerStatuses": [{"name": "main", "containerID": format!("c://{n}"), "ready": false, "restartCount": 5,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 2m40s restarting failed container"}},
                "lastState": {"terminated": {"exitCode": 3, "reason": "Error", "startedAt": "2026-01-02T03:03:00Z", "finishedAt": "2026-01-02T03:03:05Z"}}}]});
            world.add(
                "pods",
                &format!("orders-{n}"),
                json!({"spec": {"containers": [{"name": "main", "image": "tools.invalid/tools:1"}]}, "status": status}),
            );
        }
        let needs = json!({"containers": [{"name": "main", "image": "tools.invalid/tools:1", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db-login", "key": "p"}}}]}]});
        let waiting = json!({"phase": "Pending", "containerStatuses": [{"name": "main", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"db-login\" not found"}}}]});
        world.add("pods", "billing", json!({"spec": needs, "status": waiting}));

        let mut random = Random(20_260_102);
        let mut distinct = BTreeSet::new();
        while world.canaries.len() < many {
            let index = world.canaries.len();
            let (shape, plant) = PLACES[index % PLACES.len()];
            let value = canary(&mut random, index, shape);
            if distinct.insert(value.clone()) {
                let planted = plant(&mut world, index, &value);
                world.canaries.push(planted.unwrap_or(value));
            }
        }
        // What ends every log is what somebody would quote.
        for (_, lines) in &mut world.logs {
            lines.push("fatal: no shard is configured".to_owned());
        }
        world
    }

    fn add(&mut self, plural: &'static str, name: &str, more: Value) -> &mut Value {
        let (_, version, kind) = KINDS.iter().find(|(known, ..)| *known == plural).expect("it is known");
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"),
            "resourceVersion": "7", "creationTimestamp": "2026-01-02T03:00:00Z"}});
        for (key, value) in more.as_object().into_iter().flatten() {
            match value.as_object().filter(|_| key == "metadata") {
                Some(fields) => fields.iter().for_each(|(key, value)| object["metadata"][key] = value.clone()),
                None => object[key] = value.clone(),
            }
        }
        let list = self.lists.entry(plural).or_default();
        list.push(object);
        list.last_mut().expect("it was put there")
    }

    fn secret(&mut self, index: usize, more: Value) {
        self.add("secrets", &format!("s-{index}"), more);
    }

    fn config_map(&mut self, index: usize, data: Value) {
        self.add("configmaps", &format!("c-{index}"), json!({"data": data}));
    }

    /// A Job, so that what stands in it is looked at, with this container.
    fn container(&mut self, index: usize, mut container: Value) {
        container["name"] = json!("main");
        container["image"] = json!("tools.invalid/tools:1");
        self.add(
            "jobs",
            &format!("j-{index}"),
            json!({"spec": {"template": {"spec": {"containers": [container]}}}}),
        );
    }

    fn env(&mut self, index: usize, name: &str, value: &str) {
        self.container(index, json!({"env": [{"name": name, "value": value}]}));
    }

    fn print(&mut self, index: usize, line: impl Into<String>) {
        self.logs[index % PODS].1.push(line.into());
    }

    fn record(&mut self, index: usize, record: Value) {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(record.to_string().as_bytes()).expect("it is written to memory");
        let packed = STANDARD.encode(gzip.finish().expect("it is written to memory"));
        let release = format!("r{index}");
        self.add(
            "secrets",
            &format!("sh.helm.release.v1.{release}.v1"),
            json!({"type": "helm.sh/release.v1", "data": {"release": STANDARD.encode(&packed)},
            "metadata": {"labels": {"owner": "helm", "name": release, "status": "deployed", "version": "1"}}}),
        );
        // Helm can be told to keep them in ConfigMaps as well.
        self.add(
            "configmaps",
            &format!("sh.helm.release.v1.m{index}.v1"),
            json!({"data": {"release": packed},
            "metadata": {"labels": {"owner": "helm", "name": format!("m{index}"), "status": "deployed", "version": "1"}}}),
        );
    }

    /// The objects of one kind.
    pub fn items(&self, plural: &str) -> Vec<Value> {
        self.lists.get(plural).cloned().unwrap_or_default()
    }

    pub fn objects(&self) -> Vec<Value> {
        self.lists.values().flatten().cloned().collect()
    }

    /// The same as each tool would have exported it: name, and its files.
    pub fn exports(&self) -> Vec<(&'static str, Vec<(String, String)>)> {
        let list = |plural: &str| {
            let (_, version, kind) = KINDS.iter().find(|(known, ..)| *known == plural).expect("it is known");
            json!({"apiVersion": version, "kind": format!("{kind}List"), "metadata": {"resourceVersion": "9"}, "items": self.items(plural)})
                .to_string()
        };
        let stamped = |lines: &[String]| -> String {
            lines
                .iter()
                .map(|line| format!("2026-01-02T03:04:05.000000001Z {line}\n"))
                .collect()
        };
        let all = json!({"apiVersion": "v1", "kind": "List", "items": self.objects()}).to_string();
        let one_by_one: String = self.objects().iter().map(|object| format!("{object:#}\n")).collect();
        let items: String = self.objects().iter().map(|object| format!("- {object}\n")).collect();
        let storage: Vec<Value> = self
            .items("secrets")
            .into_iter()
            .filter(|secret| secret["type"] == "helm.sh/release.v1")
            .collect();
        let storage = json!({"apiVersion": "v1", "kind": "List", "items": storage}).to_string();
        let mut dump = Vec::new();
        let mut gather = Vec::new();
        let mut bundle = vec![(
            "b/cluster-resources/resourcequotas-errors.json".to_owned(),
            json!({"shop": self.refusal}).to_string(),
        )];
        for (plural, version, _) in KINDS {
            let group = version.split_once('/').map_or("core", |(group, _)| group);
            dump.push((format!("shop/{plural}.json"), list(plural)));
            gather.push((
                format!("must-gather.local.1/image/namespaces/shop/{group}/{plural}.yaml"),
                list(plural),
            ));
            let folder = if group.contains("fluxcd") {
                format!("custom-resources/{plural}.{group}")
            } else {
                (*plural).to_owned()
            };
            bundle.push((format!("b/cluster-resources/{folder}/shop.json"), list(plural)));
        }
        for (pod, lines) in &self.logs {
            dump.push((format!("shop/{pod}/logs.txt"), lines.join("\n")));
            gather.push((
                format!("must-gather.local.1/image/namespaces/shop/pods/{pod}/main/main/logs/current.log"),
                stamped(lines),
            ));
            bundle.push((format!("b/cluster-resources/pods/logs/shop/{pod}/main.log"), lines.join("\n")));
        }
        vec![
            ("kubectl get", vec![("all.json".to_owned(), all)]),
            ("kubectl get, one by one", vec![("all.json".to_owned(), one_by_one)]),
            (
                "kubectl get as YAML",
                vec![("all.yaml".to_owned(), format!("apiVersion: v1\nitems:\n{items}kind: List\n"))],
            ),
            ("storage", vec![("storage.json".to_owned(), storage)]),
            ("a dump", dump),
            ("a must-gather", gather),
            ("a support bundle", bundle),
        ]
    }
}

/// Plants a canary; what is to be looked for where it is not the value alone.
type Plant = fn(&mut World, usize, &str) -> Option<String>;

const PLACES: &[(Shape, Plant)] = &[
    // In a Secret, and everywhere that it is carried to.
    (Shape::Any, |world, index, value| {
        world.secret(index, json!({"type": "Opaque", "data": {"value": STANDARD.encode(value)}}));
        world.print(index, format!("opening the store with {value}"));
        world.print(index, format!("{{\"msg\":{}}}", quoted(&format!("refused {value} twice"))));
        world.print(index, format!("login {}", STANDARD.encode(format!("admin:{value}"))));
        world.print(index, format!("GET /open?with={}&x=1", in_url(value)));
        world.config_map(index, json!({"notes": format!("it is {value} now"), "key": value}));
        None
    }),
    (Shape::Any, |world, index, value| {
        world.secret(
            index,
            json!({"data": {"config.yaml": STANDARD.encode(format!("db:\n  user: app\n  password: {}\n", quoted(value)))}}),
        );
        None
    }),
    (Shape::Word, |world, index, value| {
        let auths = json!({"auths": {"r.invalid": {"auth": STANDARD.encode(format!("robot:{value}"))}}}).to_string();
        world.secret(
            index,
            json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": STANDARD.encode(auths)}}),
        );
        world.print(index, format!("robot said {value}"));
        None
    }),
    // What kubectl and others keep of a whole object.
    (Shape::Any, |world, index, value| {
        let copy = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s-{index}")}, "stringData": {"a": value}})
            .to_string();
        world.secret(index, json!({"data": {"a": STANDARD.encode("a")}, "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": copy,
            "kapp.k14s.io/original": copy, "acme.invalid/was": value}}}));
        None
    }),
    (Shape::Any, |world, index, value| {
        let fields = json!([{"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-02T03:00:00Z", "fieldsV1": {"f:data": {(format!("v:{}", quoted(value))): {}}}}]);
        world.add(
            "configmaps",
            &format!("c-{index}"),
            json!({"metadata": {"managedFields": fields}, "data": {"a": "b"}}),
        );
        None
    }),
    // Values of charts, and what is rendered from them.
    (Shape::Any, |world, index, value| {
        let manifest = format!(
            "---\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{settings: {}}}\n---\nkind: Secret\nmetadata: {{name: t}}\nstringData: {{p: {}}}\n",
            quoted(&format!("it is {value}")),
            quoted(value)
        );
        world.record(index, json!({"name": format!("r{index}"), "namespace": "shop", "version": 1, "config": {"auth": {"password": value}},
            "info": {"status": "deployed", "description": format!("Install complete with {value}")}, "chart": {"metadata": {"name": "a", "version": "1"}}, "manifest": manifest}));
        None
    }),
    (Shape::Any, |world, index, value| {
        world.add("helmreleases", &format!("h-{index}"), json!({"spec": {"chartRef": {"kind": "OCIRepository", "name": "a"}, "values": {"db": {"auth": {"rootPassword": value, "host": "db"}}}}}));
        None
    }),
    (Shape::Any, |world, index, value| {
        world.add(
            "kustomizations",
            &format!("k-{index}"),
            json!({"spec": {"postBuild": {"substitute": {"api_token": value}}}}),
        );
        None
    }),
    // Containers.
    (Shape::Any, |world, index, value| {
        world.env(
            index,
            ["DB_PASSWORD", "API_TOKEN", "AWS_SECRET_ACCESS_KEY", "clientSecret", "MYSQL_PWD"][index % 5],
            value,
        );
        world.print(index, "nothing of note");
        None
    }),
    (Shape::Short, |world, index, value| {
        world.container(index, json!({"args": ["serve", format!("--password={value}"), "--level=debug"]}));
        None
    }),
    (Shape::Any, |world, index, value| {
        world.container(index, json!({"command": ["serve", "--api-token", value, "--level", "debug"]}));
        None
    }),
    (Shape::Short, |world, index, value| {
        world.container(
            index,
            json!({"command": ["sh", "-c", format!("export PGPASSWORD='{value}'\nuntil psql -h db -U app; do sleep 1; done")]}),
        );
        None
    }),
    (Shape::Word, |world, index, value| {
        world.container(
            index,
            json!({"command": ["sh", "-c", format!("curl -sf -u admin:{value} -H 'Accept: a/b' http://db.invalid/ready")]}),
        );
        None
    }),
    (Shape::Word, |world, index, value| {
        let probe =
            json!({"httpGet": {"path": "/", "port": 80, "httpHeaders": [{"name": "Authorization", "value": format!("Bearer {value}")}]}});
        world.container(index, json!({"readinessProbe": probe}));
        None
    }),
    (Shape::Word, |world, index, value| {
        world.env(index, "SETTINGS", &STANDARD.encode(format!("host=db\npassword={value}\n")));
        None
    }),
    (Shape::Word, |world, index, value| {
        world.env(
            index,
            "DATABASE_URL",
            &format!("postgres://app:{}@db.shop:5432/app?sslmode=disable", in_url(value)),
        );
        None
    }),
    (Shape::Word, |world, index, value| {
        world.env(
            index,
            "CONNECTION",
            &format!("Server=db,1433;User Id=sa;Password={value};Encrypt=true"),
        );
        None
    }),
    (Shape::Any, |world, index, value| {
        let status = json!({"phase": "Failed", "containerStatuses": [{"name": "main", "restartCount": 0, "ready": false, "state": {"terminated":
            {"exitCode": 1, "message": format!("{{\"token\":{}}}", quoted(value))}}}]});
        world.add(
            "pods",
            &format!("p-{index}"),
            json!({"spec": {"containers": [{"name": "main"}]}, "status": status}),
        );
        None
    }),
    // ConfigMaps that hold what a Secret should.
    (Shape::Any, |world, index, value| {
        world.config_map(index, json!({"db-password": value, "host": "db"}));
        None
    }),
    (Shape::Word, |world, index, value| {
        world.config_map(
            index,
            json!({"app.properties": format!("db.host = db\ndb.password = {value}\nlevel = debug\n")}),
        );
        None
    }),
    (Shape::Any, |world, index, value| {
        world.config_map(
            index,
            json!({"app.yaml": format!("db:\n  host: db\n  password: {}\n", quoted(value)), "b": "c"}),
        );
        None
    }),
    (Shape::Word, |world, index, value| {
        let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{value}{value}\n-----END RSA PRIVATE KEY-----\n");
        world.config_map(index, json!({"tls.key": key}));
        None
    }),
    (Shape::Word, |world, index, value| {
        world.add(
            "configmaps",
            &format!("c-{index}"),
            json!({"metadata": {"annotations": {"acme.invalid/api-token": value}}}),
        );
        None
    }),
    // Logs.
    (Shape::Short, |world, index, value| {
        world.print(index, format!("level=info msg=\"login\" user=app password={value} took=3ms"));
        None
    }),
    (Shape::Any, |world, index, value| {
        world.print(
            index,
            format!(
                "{{\"level\":\"info\",\"user\":\"app\",\"accessToken\":{},\"took\":3}}",
                quoted(value)
            ),
        );
        None
    }),
    (Shape::Any, |world, index, value| {
        let inner = format!("{{\"client_secret\":{}}}", quoted(value));
        world.print(index, format!("{{\"body\":{}}}", quoted(&inner)));
        None
    }),
    (Shape::Word, |world, index, value| {
        world.print(index, format!("> Authorization: Bearer {value}"));
        None
    }),
    (Shape::Word, |world, index, value| {
        world.print(
            index,
            format!(
                "headers: map[Authorization:[Basic {}] Accept:[*/*]]",
                STANDARD.encode(format!("app:{value}"))
            ),
        );
        None
    }),
    (Shape::Word, |world, index, value| {
        world.print(
            index,
            format!("connecting to amqp://app:{}@queue.shop.svc:5672/orders", in_url(value)),
        );
        None
    }),
    (Shape::Short, |world, index, value| {
        world.print(
            index,
            format!(
                "GET https://api.invalid/v1/orders?page=2&access_token={}&size=10 401",
                in_url(value)
            ),
        );
        None
    }),
    (Shape::Word, |world, index, value| {
        world.print(
            index,
            format!("PUT https://acct.blob.invalid/c/b?sv=2024&sp=rw&sig={}", in_url(value)),
        );
        None
    }),
    (Shape::Word, |world, index, value| {
        world.print(
            index,
            format!("DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={value};EndpointSuffix=core"),
        );
        None
    }),
    (Shape::Word, |world, index, value| {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!(
            "{}.{}.{}",
            part("{\"alg\":\"HS256\"}"),
            part(&format!("{{\"sub\":\"{value}\"}}")),
            part(value)
        );
        world.print(index, format!("verifying {token} failed"));
        None
    }),
    (Shape::Word, |world, index, _| {
        let mut random = Random(index as u64);
        let upper = random.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16);
        let letters = format!("{LETTERS}{DIGITS}");
        let key = match index % 4 {
            0 => format!("AKIA{upper}"),
            1 => format!("ghp_{}", random.of(&letters, 36)),
            2 => format!("xoxb-{}", random.of(&letters, 24)),
            _ => format!("glpat-{}", random.of(&letters, 20)),
        };
        world.print(index, format!("using {key} for the upload"));
        Some(key)
    }),
    (Shape::Word, |world, index, value| {
        world.print(index, "-----BEGIN PRIVATE KEY-----");
        world.print(index, format!("{value}{value}"));
        world.print(index, "-----END PRIVATE KEY-----");
        None
    }),
    // Events, conditions, and the words of the API.
    (Shape::Word, |world, index, value| {
        let message = format!(
            "Readiness probe failed: Get \"http://app:{}@10.0.0.7:8080/?token={}\": connection refused",
            in_url(value),
            in_url(value)
        );
        world.add(
            "events",
            &format!("orders-0.{index}"),
            json!({"reason": "Unhealthy", "type": "Warning", "count": 5, "message": message,
            "firstTimestamp": "2026-01-02T03:00:02Z", "lastTimestamp": "2026-01-02T03:04:05Z",
            "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "orders-0", "uid": "uid-orders-0"}}),
        );
        None
    }),
    (Shape::Word, |world, index, value| {
        let message = format!("Helm install failed: template: a/t.yaml:3: cannot use db.password={value}");
        world.add("helmreleases", &format!("h-{index}"), json!({"spec": {"chartRef": {"kind": "OCIRepository", "name": "a"}}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "reason": "InstallFailed", "message": message, "lastTransitionTime": "2026-01-02T03:00:00Z"}]}}));
        None
    }),
    (Shape::Word, |world, _, value| {
        world
            .refusal
            .push_str(&format!("resourcequotas is forbidden: webhook denied it with token={value} "));
        if world.token.is_empty() {
            world.token = value.to_owned();
        }
        None
    }),
];
