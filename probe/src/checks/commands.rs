//! Commands that the remedies of several findings name.

pub(super) const LOG: &str = "kubectl logs -n hcce deployment/coturn --tail=50";
pub(super) const PODS: &str = "kubectl get pods -n hcce -l app=coturn";
pub(super) const TCP_MAP: &str = "kubectl get configmap haproxy-tcp-config -n hcce -o yaml";
pub(super) const REPLACE: &str = "kubectl apply -n hcce -k deploy/kustomize";
