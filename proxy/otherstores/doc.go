// Package otherstores finds out, and remembers, which resources are not in their shard's own
// storage, so that their versions are not the shard's.
//
// When a cluster has moved to another shard, its clients get 410 for versions below the one that
// the shard had reached then (Move.At), and list again. Some resources of a cluster are not in its
// shard's own storage: virtual resources, and resources in --etcd-servers-overrides. Their versions are
// not the shard's. They may stay below Move.At for as long as the cluster exists, and a client that
// got 410 for such a version would list again, get such a version again, and so on.
//
// So before a version is refused, the shard is asked for the list that the client would get
// if it listed again (Question.ListedVersion). If the version of that list is below Move.At, too, the
// resource is in another store, and from then on no version of it is refused in this cluster.
//
//   - No resource in the shard's own storage is taken for one of another store. A list
//     without a resource version is consistent: its version is one that the storage has
//     reached by then, and so not below one that it had reached before.
//   - No client is refused for ever. Its list after a 410 is the one that the shard is asked
//     for, with the same identity, path and selectors. A list of the client whose version is
//     refused again was below Move.At, while the proxy's own list after it was not. If versions
//     only rise, at most one such 410 is possible; if they can fall (a virtual workspace may give
//     a list the version of its newest object), the first list below Move.At ends the refusals.
//   - The same resource may have one version for each selector and namespace, or versions
//     that fall. So no lowest version of it is remembered, only that there is another store;
//     that is a fact about the resource. Nor is it remembered that a version was refused.
//   - A shard that does not say (an error, no permission to list, a list without a version)
//     leaves it at the 410: a client that cannot list has no version from a list either.
//
// Only requests that would be refused pay for this. What is remembered saves questions and
// decides nothing else: a resource that was forgotten is asked for again.
//
// It must not know which requests are refused, nor who is asking.
package otherstores
