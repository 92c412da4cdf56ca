package protocols

import (
	"os"
	"slices"
	"testing"

	"github.com/chaperone-dev/chaperone/rules"
)

// notProtocols are the folders beside the protocols' own.
var notProtocols = []string{"protocols", "protocoltest"}

func TestEveryFolderIsInTheListAndEveryPolicyWordIsSpoken(t *testing.T) {
	var listed, folders []string
	for _, p := range List(Needs{}) {
		listed = append(listed, p.Name())
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(notProtocols, e.Name()) {
			folders = append(folders, e.Name())
		}
	}
	slices.Sort(listed)
	if !slices.Equal(listed, folders) {
		t.Errorf("the list has %q, the folders are %q", listed, folders)
	}
	if words := slices.Sorted(slices.Values(rules.Protocols())); !slices.Equal(listed, words) {
		t.Errorf("the list has %q, a policy may say %q", listed, words)
	}
}
