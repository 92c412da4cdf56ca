package approval

import (
	"os"
	"testing"

	"github.com/chaperone-dev/chaperone/pkg/leaks"
)

func TestMain(m *testing.M) { os.Exit(leaks.Run(m)) }
