//! Random kustomizations: resources in a base, sometimes a component, and an overlay that changes them.

use super::Tree;
use crate::generator::Random;

/// Objects that a base is made of.
const OBJECTS: [&str; 12] = [
    "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: {app: web, tier: front}\nspec:\n  replicas: 2\n  selector:\n    matchLabels: {app: web}\n  template:\n    metadata:\n      labels: {app: web}\n    spec:\n      serviceAccountName: runner\n      initContainers:\n      - name: init\n        image: busybox:1.36\n      containers:\n      - name: web\n        image: nginx:1.25\n        ports:\n        - containerPort: 80\n          name: http\n        env:\n        - name: MODE\n          valueFrom:\n            configMapKeyRef: {name: settings, key: mode}\n        - name: PLAIN\n          value: \"1\"\n        envFrom:\n        - secretRef: {name: keys}\n      - name: side\n        image: registry.example.org:5000/team/side@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n      volumes:\n      - name: config\n        configMap: {name: settings}\n",
    "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  annotations:\n    note: \"yes\"\nspec:\n  selector: {app: web}\n  ports:\n  - port: 80\n    targetPort: http\n",
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: plain\ndata:\n  host: web.example.org\n  port: \"8080\"\n  text: |\n    one\n    two\n",
    "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: runner\n",
    "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata:\n  name: bind\nroleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: Role\n  name: rights\nsubjects:\n- kind: ServiceAccount\n  name: runner\n  namespace: default\n",
    "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: rights\nrules:\n- apiGroups: [\"\"]\n  resources: [pods]\n  verbs: [get, list]\n",
    "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: nightly\nspec:\n  schedule: \"0 1 * * *\"\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          containers:\n          - name: job\n            image: busybox\n",
    "apiVersion: example.org/v1\nkind: Thing\nmetadata:\n  name: odd\nspec:\n  on: true\n  size: 1.50\n  list:\n  - {name: a, value: 1}\n  - {name: b, value: 2}\n",
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: gate\nspec:\n  tls:\n  - hosts: [a.example.org]\n    secretName: keys\n  rules:\n  - host: a.example.org\n    http:\n      paths:\n      - path: /\n        pathType: Prefix\n        backend:\n          service: {name: web, port: {number: 80}}\n",
    "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: home\n",
    "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: scale\nspec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n  minReplicas: 1\n  maxReplicas: 5\n",
    "apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: store\nspec:\n  serviceName: web\n  replicas: 1\n  selector:\n    matchLabels: {app: store}\n  template:\n    metadata:\n      labels: {app: store}\n    spec:\n      containers:\n      - name: db\n        image: postgres:16\n  volumeClaimTemplates:\n  - metadata: {name: data}\n    spec:\n      accessModes: [ReadWriteOnce]\n",
];

/// Fields of a kustomization that need no other file.
const FIELDS: [&str; 44] = [
    "namePrefix: pre-\n",
    "nameSuffix: -post\n",
    "namespace: elsewhere\n",
    "commonLabels: {team: a, app: other}\n",
    "commonAnnotations: {owner: \"me\", count: \"3\"}\n",
    "labels:\n- pairs: {env: test}\n",
    "labels:\n- pairs: {env: test}\n  includeSelectors: true\n",
    "labels:\n- pairs: {env: test, \"n\": \"1\"}\n  includeTemplates: true\n",
    "labels:\n- pairs: {deep: x}\n  fields:\n  - {path: spec/list, create: false}\n",
    "images:\n- {name: nginx, newTag: \"1.27\"}\n",
    "images:\n- {name: nginx, newName: mirror.example.org/nginx, digest: \"sha256:aaaa\"}\n",
    "images:\n- {name: busybox, newName: box}\n- {name: registry.example.org:5000/team/side, newTag: v2}\n",
    "images:\n- {name: busybox, newTag: \"1\"}\n- {name: postgres, newTag: \"17\", newName: pg}\n",
    "replicas:\n- {name: web, count: 4}\n",
    "replicas:\n- {name: store, count: 0}\n",
    "configMapGenerator:\n- name: settings\n  literals: [mode=fast, \"empty=\", 'quoted=\"x\"']\n",
    "configMapGenerator:\n- name: settings\n  literals: [mode=slow]\n  options: {disableNameSuffixHash: true, labels: {made: here}}\n",
    "configMapGenerator:\n- name: plain\n  behavior: merge\n  literals: [host=new, more=1]\n",
    "configMapGenerator:\n- name: plain\n  behavior: replace\n  literals: [only=this]\n",
    "configMapGenerator:\n- name: settings\n  envs: [extra.env]\n  files: [extra.env, renamed=extra.env]\n",
    "secretGenerator:\n- name: keys\n  literals: [password=hunter2, user=me]\n",
    "secretGenerator:\n- name: keys\n  type: kubernetes.io/tls\n  files: [tls.crt=extra.env]\n  literals: [tls.key=k]\n",
    "generatorOptions:\n  annotations: {made: generator}\n  disableNameSuffixHash: true\n",
    "generatorOptions:\n  labels: {kind: made}\n  immutable: true\n",
    "patches:\n- patch: |-\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: web}\n    spec:\n      replicas: 7\n      template:\n        spec:\n          containers:\n          - name: web\n            env:\n            - {name: MODE, value: patched, valueFrom: null}\n            - {name: NEW, value: x}\n",
    "patches:\n- patch: |-\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: web}\n    spec:\n      template:\n        spec:\n          containers:\n          - {name: side, $patch: delete}\n          - {name: added, image: added:1}\n          volumes:\n          - {name: config, emptyDir: {}, configMap: null}\n          - {name: more, emptyDir: {}}\n",
    "patches:\n- target: {kind: Deployment}\n  patch: |-\n    - {op: replace, path: /spec/replicas, value: 9}\n    - {op: add, path: /spec/template/spec/containers/-, value: {name: last, image: last}}\n    - {op: add, path: /metadata/annotations, value: {a/b: c}}\n",
    "patches:\n- target: {kind: Service, name: web}\n  patch: |-\n    - {op: remove, path: /metadata/annotations}\n    - {op: add, path: /spec/ports/0/name, value: http}\n    - {op: test, path: /spec/ports/0/port, value: 80}\n",
    "patches:\n- target: {labelSelector: \"app=web\"}\n  patch: |-\n    - {op: add, path: /metadata/labels/patched, value: \"true\"}\n",
    "patches:\n- target: {name: \"w.*\"}\n  options: {allowNameChange: true}\n  patch: |-\n    - {op: replace, path: /metadata/name, value: renamed}\n",
    "patches:\n- patch: |-\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: plain}\n    $patch: delete\n",
    "patches:\n- patch: |-\n    apiVersion: example.org/v1\n    kind: Thing\n    metadata: {name: odd, labels: {x: \"1\"}}\n    spec:\n      size: null\n      list:\n      - {name: c}\n",
    "patchesStrategicMerge:\n- |-\n  apiVersion: v1\n  kind: Service\n  metadata: {name: web}\n  spec:\n    type: NodePort\n    ports:\n    - {port: 80, nodePort: 30080}\n    - {port: 443, name: tls}\n",
    "patchesJson6902:\n- target: {version: v1, kind: ConfigMap, name: plain}\n  patch: |-\n    - {op: copy, from: /data/host, path: /data/copied}\n    - {op: move, from: /data/port, path: /data/moved}\n",
    "replacements:\n- source: {kind: ConfigMap, name: plain, fieldPath: data.host}\n  targets:\n  - select: {kind: Ingress}\n    fieldPaths: [spec.rules.0.host, \"spec.tls.*.hosts.0\"]\n",
    "replacements:\n- source: {kind: Service, name: web, fieldPath: metadata.name}\n  targets:\n  - select: {kind: Deployment, name: web}\n    fieldPaths: [\"spec.template.spec.containers.[name=web].env.[name=PLAIN].value\"]\n",
    "replacements:\n- source: {kind: ConfigMap, name: plain, fieldPath: data.port}\n  targets:\n  - select: {kind: Thing}\n    fieldPaths: [spec.port, spec.list.0.value]\n    options: {create: true}\n",
    "sortOptions:\n  order: legacy\n",
    "sortOptions:\n  order: fifo\n",
    "buildMetadata: [originAnnotations]\n",
    "buildMetadata: [managedByLabel, transformerAnnotations]\n",
    "vars:\n- name: WEB\n  objref: {apiVersion: v1, kind: Service, name: web}\n",
    "nameSuffix: \"\"\nnamePrefix: \"\"\n",
    "crds: []\n",
];

/// The name of a field; fields that share one cannot stand together.
fn key(field: &str) -> &str {
    field.split(':').next().unwrap_or_default()
}

fn fields(random: &mut Random, most: usize) -> String {
    let mut chosen: Vec<&str> = Vec::new();
    for _ in 0..random.below(most + 1) {
        let field = *random.pick(&FIELDS);
        if chosen.iter().all(|other| field.lines().all(|line| !line.starts_with(key(other)))) {
            chosen.push(field);
        }
    }
    chosen.concat()
}

fn list(name: &str, items: &[&str]) -> String {
    if items.is_empty() { String::new() } else { format!("{name}: [{}]\n", items.join(", ")) }
}

/// One case; its overlay is what is built.
pub(crate) fn tree(random: &mut Random) -> Tree {
    let mut tree = Tree::new();
    let mut names = Vec::new();
    for (at, object) in OBJECTS.iter().enumerate() {
        if random.chance(45) || at == random.below(OBJECTS.len()) {
            let name = format!("{at}.yaml");
            tree.insert(format!("base/{name}"), (*object).to_owned());
            names.push(name);
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bases = vec!["../base"];
    tree.insert(
        "base/kustomization.yaml".to_owned(),
        format!("{}{}", list("resources", &names), fields(random, 3)),
    );
    if random.chance(25) {
        tree.insert(
            "middle/kustomization.yaml".to_owned(),
            format!("resources: [../base]\n{}", fields(random, 3)),
        );
        bases = vec!["../middle"];
    }
    let mut components = Vec::new();
    if random.chance(25) {
        let head = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n";
        tree.insert("part/kustomization.yaml".to_owned(), format!("{head}{}", fields(random, 3)));
        components.push("../part");
    }
    if random.chance(30) {
        tree.insert(
            "overlay/own.yaml".to_owned(),
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\ndata: {a: b}\n---\n# nothing\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: own}\nstringData: {x: \"y\"}\n".to_owned(),
        );
        bases.push("own.yaml");
    }
    tree.insert(
        "overlay/kustomization.yaml".to_owned(),
        format!("{}{}{}", list("resources", &bases), list("components", &components), fields(random, 5)),
    );
    for folder in ["base", "middle", "part", "overlay"] {
        tree.insert(format!("{folder}/extra.env"), "A=1\n# comment\nB=two words\nC=\n".to_owned());
    }
    tree
}

/// Trees with one field or one resource less.
pub(crate) fn smaller(tree: &Tree) -> Vec<Tree> {
    let mut out = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with("kustomization.yaml")) {
        for block in blocks(text) {
            let mut less = tree.clone();
            let single = block.strip_prefix("resources: [").and_then(|rest| rest.strip_suffix("]\n"));
            let Some(items) = single else {
                if !block.starts_with("apiVersion") && !block.starts_with("kind") {
                    less.insert(path.clone(), text.replace(&block, ""));
                    out.push(less);
                }
                continue;
            };
            let items: Vec<&str> = items.split(", ").collect();
            for left_out in items.iter().filter(|_| items.len() > 1) {
                let kept: Vec<&str> = items.iter().copied().filter(|item| item != left_out).collect();
                let mut less = tree.clone();
                less.insert(path.clone(), text.replace(&block, &list("resources", &kept)));
                out.push(less);
            }
        }
    }
    out
}

/// The fields of a kustomization with what belongs to them.
fn blocks(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        match out.last_mut() {
            Some(last) if line.starts_with([' ', '-']) => last.push_str(line),
            _ => out.push(line.to_owned()),
        }
    }
    out
}
