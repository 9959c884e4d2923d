// Package otherstores knows which resources have versions that are not those of their shard's own
// storage, and finds that out.
//
// When a cluster has moved to another shard, its clients get 410 for versions below the one that
// the shard had reached then (Move.At), and list again. Some resources of a cluster are not in its
// shard's own storage: virtual resources, and those of --etcd-servers-overrides. Their versions are
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
//     for, with the same identity, path and selectors. Suppose that the list's version is
//     refused again. It is below Move.At, and that of the list that the shard gave to the
//     proxy next was not: the versions have passed Move.At in between. If they never fall,
//     none below comes any more. If they do fall (a virtual workspace may give a list the
//     version of its newest object), each further 410 takes such a passage, and the first
//     list below Move.At that the proxy gets ends them all.
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
